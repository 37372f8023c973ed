#!/usr/bin/env node
/** The command line: what was asked for, in which file it is done, and what the exit status says. */
import './early-signals.ts';
import { Command, CommanderError, Help, Option } from 'commander';
import type { BackendOptions } from './commands/backend-program.ts';
import type { QemuArgsOptions } from './commands/qemu-args.ts';
import type { StatusOptions } from './commands/status.ts';
import { ConfigError } from './config/config-error.ts';
import { didYouMean } from './config/suggest.ts';
import { CommandError, EXIT } from './exit-codes.ts';
import { printable } from './printable.ts';
import { VERSION } from './version.ts';

/** Modules are loaded by the command that needs them: `--print-capabilities` needs none. */
function commandLine(finish: (exitCode: number) => void): Command {
  const program = new Command('basewire');
  program
    .description('An IP switch for QEMU virtual machines: a vhost-user back-end for virtio-net.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(printableError(text)) })
    .hook('preSubcommand', refuseOptionsBefore)
    .showHelpAfterError('(basewire --help shows what there is)')
    .enablePositionalOptions()
    .allowExcessArguments()
    .configureHelp({ formatHelp: commandsFirst })
    .helpCommand('help [command]', 'show the help of a command')
    .helpOption('-h, --help', 'show this help')
    .optionsGroup('Without a command, one port (vhost-user back-end program conventions):')
    .option('--socket-path <path>', 'serve it on this socket')
    .option('--fd <number>', 'serve it on this inherited socket')
    .option('--print-capabilities', 'print what this is as JSON, and end')
    .option('--address <address/length>', 'the VM’s address', '10.77.0.2/24')
    .option('--gateway <address>', 'the base’s address (default: first of the subnet)')
    .option('--interface <name>', 'an interface that the VM may open as adapter "uplink"')
    .option('--admin-socket <path>', 'offer the admin interface there')
    .option('--log-level <level>', 'least level that is logged', 'info')
    .addHelpText(
      'after',
      `
Exit status: ${EXIT.ok} done, ${EXIT.failure} failed, ${EXIT.usage} wrong command line, ${EXIT.unavailable} no daemon answers, ${EXIT.config} wrong configuration.`,
    )
    .action(async (options: BackendOptions, command: Command) => {
      if (command.args.length > 0) throw unknownCommand(program, command.args[0]!);
      if (options.socketPath === undefined && options.fd === undefined) {
        if (process.argv.length <= 2) command.help({ error: true });
        throw new CommandError(
          'nothing to do: give a command, or --socket-path or --fd (see basewire --help)',
          EXIT.usage,
        );
      }
      const { backendProgram } = await import('./commands/backend-program.ts');
      finish(await backendProgram(options));
    });

  subcommand(program, 'run')
    .description('run the daemon in the foreground')
    .requiredOption('-c, --config <file>', 'configuration file')
    .action(async (options: { config: string }) => {
      finish(await (await import('./commands/run.ts')).run(options));
    });

  subcommand(program, 'check')
    .description('say what is wrong with a configuration, or what it would do')
    .requiredOption('-c, --config <file>', 'configuration file')
    .action(async (options: { config: string }) => {
      finish(await (await import('./commands/check.ts')).check(options));
    });

  subcommand(program, 'status')
    .description('show state, counters and drops of the running daemon')
    .argument('[name...]', 'VMs and adapters to show (default: all)')
    .option('--json', 'print the admin interface’s /v1/status')
    .option('-c, --config <file>', 'ask the daemon of this configuration')
    .addOption(
      new Option('--admin-socket <path>', 'ask the daemon on this admin socket').conflicts(
        'config',
      ),
    )
    .action(async (names: string[], options: StatusOptions) => {
      finish(await (await import('./commands/status.ts')).status(names, options));
    });

  subcommand(program, 'qemu-args')
    .description('print the QEMU arguments for a VM')
    .argument('<vm>', 'name of the VM in the configuration')
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--qemu-version <version>', 'for this QEMU (default: the installed one)')
    .option('--kvm', 'the VM runs with KVM')
    .option('--no-kvm', 'the VM runs without KVM (default)')
    .option('--memory <size>', 'the VM’s memory', '512M')
    .option('--socket <number>', 'which of several sockets of the VM', '1')
    .option('--queues <number>', 'queue pairs', '1')
    .action(async (vm: string, options: QemuArgsOptions) => {
      finish((await import('./commands/qemu-args.ts')).qemuArgs(vm, options));
    });

  subcommand(program, 'schema')
    .description('print the JSON Schema of the configuration')
    .action(async () => {
      finish((await import('./commands/schema.ts')).schema());
    });

  for (const command of [program, ...program.commands]) refuseRepetition(command);
  return program;
}

/** What most people want to know comes before what QEMU's supervisors use. */
function commandsFirst(command: Command, helper: Help): string {
  const blocks = Help.prototype.formatHelp.call(helper, command, helper).split('\n\n');
  const commands = blocks.findIndex((block) => block.startsWith('Commands:'));
  const options = blocks.findIndex((block) => block.startsWith('Options:'));
  if (commands > options)
    blocks.splice(options, 0, ...blocks.splice(commands, 1).map((block) => block.trimEnd()));
  return `${blocks.join('\n\n').trimEnd()}\n`;
}

/** Of an option that is given twice the first value would be ignored. */
function refuseRepetition(command: Command): void {
  for (const option of command.options.filter(({ required }) => required)) {
    let given = false;
    command.on(`option:${option.name()}`, () => {
      if (given) throw new CommandError(`${option.long} is given twice`, EXIT.usage);
      given = true;
    });
  }
}

/** A command with options of its own, and nothing that would be ignored behind it. */
function subcommand(program: Command, name: string): Command {
  return program.command(name).allowExcessArguments(false);
}

function namesOf(program: Command): string[] {
  return [...program.commands.map((each) => each.name()), 'help'];
}

function unknownCommand(program: Command, word: string): CommandError {
  const hint = didYouMean(word, namesOf(program));
  return new CommandError(`unknown command "${word}"${hint} (see basewire --help)`, EXIT.usage);
}

/** The options behind a misspelt command are not what is wrong: the parser would name them. */
function refuseUnknownCommand(program: Command, args: string[]): void {
  const [word] = args[0] === 'help' ? args.slice(1) : args;
  if (word !== undefined && !word.startsWith('-') && !namesOf(program).includes(word))
    throw unknownCommand(program, word);
}

/** An option that only the command behind it knows: the parser would not know it at all. */
function refuseMisplacedOption(program: Command, args: string[]): void {
  const flag = args[0]?.split('=', 1)[0];
  if (!flag?.startsWith('-') || knows(program, flag)) return;
  const command = program.commands.find((each) => args.includes(each.name()) && knows(each, flag));
  if (command !== undefined) throw standsBefore(command, flag, 'put it behind the command');
}

function knows(command: Command, flag: string): boolean {
  return command.options.some(({ short, long }) => flag === short || flag === long);
}

function standsBefore(command: Command, flag: string, remedy: string): CommandError {
  return new CommandError(
    `${flag} stands before the command "${command.name()}": ${remedy} (see basewire ${command.name()} --help)`,
    EXIT.usage,
  );
}

/** What stands before a command is an option of the back-end program form, and would be ignored. */
function refuseOptionsBefore(program: Command, command: Command): void {
  const before = program.options.find(
    (option) => program.getOptionValueSource(option.attributeName()) === 'cli',
  );
  if (before === undefined) return;
  const has = knows(command, before.long!);
  const remedy = has ? 'put it behind the command' : `${command.name()} has no such option`;
  throw standsBefore(command, before.long!, remedy);
}

/** The library's own words about what somebody typed, beginning as ours do. */
function printableError(text: string): string {
  const [message, ...hints] = text
    .trimEnd()
    .replace(/^error: /, 'basewire: ')
    .split(/\n(?=\(Did you mean)/);
  return [message!, ...hints].map((line) => `${printable(line)}\n`).join('');
}

/** The conventions want this answered whatever else is given, and so before anything is parsed or loaded. */
function wantsCapabilities(args: string[]): boolean {
  return args.includes('--print-capabilities');
}

async function main(): Promise<number> {
  if (wantsCapabilities(process.argv.slice(2))) {
    process.stdout.write('{"type":"net"}\n');
    return EXIT.ok;
  }
  let exitCode: number = EXIT.ok;
  try {
    const program = commandLine((code) => {
      exitCode = code;
    });
    refuseUnknownCommand(program, process.argv.slice(2));
    refuseMisplacedOption(program, process.argv.slice(2));
    await program.parseAsync();
    return exitCode;
  } catch (error) {
    return failed(error);
  }
}

/** Says why, and gives the exit status. */
function failed(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof ConfigError) {
    process.stderr.write(`${error.message}\n`);
    return EXIT.config;
  }
  if (error instanceof CommandError) {
    process.stderr.write(`basewire: ${error.message}\n`);
    return error.exitCode;
  }
  process.stderr.write(`basewire: ${reason(error)}\n`);
  return EXIT.failure;
}

/** What the system refused, in its words; of anything else, which is a fault of ours, where it happened. */
function reason(error: unknown): string {
  const { code, syscall, message, stack } = error as NodeJS.ErrnoException;
  if (!code || !syscall) return (stack ?? String(error)).split('\n').map(printable).join('\n');
  const remedy = code === 'EMFILE' ? ': allow more open files (ulimit -n)' : '';
  return `${printable(message)}${remedy}`;
}

// Modules that can't be loaded, several at once, are more than one error. A daemon that runs has an ear of its own.
process.on('uncaughtException', (error) => {
  if (process.listenerCount('uncaughtException') === 1) process.exit(failed(error));
});

let unwritten: NodeJS.ErrnoException | null = null;
process.stdout.on('error', (error) => {
  unwritten ??= error;
});
process.stderr.on('error', () => {});

let exitCode = await main();
// What was written to a pipe must get out; whatever else is still open (a worker's thread) must not keep us.
await new Promise<void>((resolve) => {
  // A daemon's log goes another way: where that has no room nothing is written here, not even nothing.
  if (process.stdout.writableLength === 0) setImmediate(resolve);
  else process.stdout.write('', () => resolve());
});
exitCode = afterOutput(exitCode);
process.exit(exitCode);

/** A reader that went away wants no more, and hears of nothing. */
function afterOutput(exitCode: number): number {
  if (unwritten === null || unwritten.code === 'EPIPE') return exitCode;
  process.stderr.write(`basewire: the output can’t be written: ${printable(unwritten.message)}\n`);
  return exitCode === EXIT.ok ? EXIT.failure : exitCode;
}
