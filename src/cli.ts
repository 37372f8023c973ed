#!/usr/bin/env node
/** The command line: what was asked for, in which file it is done, and what the exit status says. */
import { Command, CommanderError } from 'commander';
import type { BackendOptions } from './commands/backend-program.ts';
import type { QemuArgsOptions } from './commands/qemu-args.ts';
import type { StatusOptions } from './commands/status.ts';
import { ConfigError } from './config/complaints.ts';
import { didYouMean } from './config/suggest.ts';
import { CommandError, EXIT } from './exit-codes.ts';
import { VERSION } from './version.ts';

/** Modules are loaded by the command that needs them: `--print-capabilities` needs none. */
function commandLine(finish: (exitCode: number) => void): Command {
  const program = new Command('basewire');
  program
    .description('An IP switch for QEMU virtual machines: a vhost-user back-end for virtio-net.')
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError('(basewire --help shows what there is)')
    .enablePositionalOptions()
    .allowExcessArguments()
    .helpCommand('help [command]', 'show the help of a command')
    .option('--socket-path <path>', 'back-end program: serve one port on this socket')
    .option('--fd <number>', 'back-end program: serve one port on this inherited socket')
    .option('--print-capabilities', 'back-end program: print what this is as JSON, and end')
    .option('--address <address/length>', 'back-end program: the VM’s address', '10.77.0.2/24')
    .option(
      '--gateway <address>',
      'back-end program: the base’s address (default: first of the subnet)',
    )
    .option(
      '--interface <name>',
      'back-end program: an interface that the VM may open as adapter "uplink"',
    )
    .option('--admin-socket <path>', 'back-end program: offer the admin interface there')
    .option('--log-level <level>', 'back-end program: least level that is logged', 'info')
    .addHelpText(
      'after',
      `
Exit status: ${EXIT.ok} done, ${EXIT.failure} failed, ${EXIT.usage} wrong command line, ${EXIT.unavailable} no daemon answers, ${EXIT.config} wrong configuration.
Without a command, --socket-path or --fd serves one port (vhost-user back-end program conventions).`,
    )
    .action(async (options: BackendOptions, command: Command) => {
      const [unknown] = command.args;
      if (unknown !== undefined) {
        const hint = didYouMean(unknown, [...program.commands.map((each) => each.name()), 'help']);
        throw new CommandError(
          `unknown command "${unknown}"${hint} (see basewire --help)`,
          EXIT.usage,
        );
      }
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

  program
    .command('run')
    .description('run the daemon in the foreground')
    .requiredOption('-c, --config <file>', 'configuration file')
    .action(async (options: { config: string }) => {
      finish(await (await import('./commands/run.ts')).run(options));
    });

  program
    .command('check')
    .description('say what is wrong with a configuration, or what it would do')
    .requiredOption('-c, --config <file>', 'configuration file')
    .action(async (options: { config: string }) => {
      finish(await (await import('./commands/check.ts')).check(options));
    });

  program
    .command('status')
    .description('show state, counters and drops of the running daemon')
    .option('--json', 'print the admin interface’s /v1/status')
    .option('-c, --config <file>', 'ask the daemon of this configuration')
    .option('--admin-socket <path>', 'ask the daemon on this admin socket')
    .action(async (options: StatusOptions) => {
      finish(await (await import('./commands/status.ts')).status(options));
    });

  program
    .command('qemu-args')
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

  program
    .command('schema')
    .description('print the JSON Schema of the configuration')
    .action(async () => {
      finish((await import('./commands/schema.ts')).schema());
    });

  return program;
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
    await commandLine((code) => {
      exitCode = code;
    }).parseAsync();
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error instanceof ConfigError) {
      process.stderr.write(`${error.message}\n`);
      return EXIT.config;
    }
    if (error instanceof CommandError) {
      process.stderr.write(`basewire: ${error.message}\n`);
      return error.exitCode;
    }
    process.stderr.write(`basewire: ${(error as Error)?.stack ?? error}\n`);
    return EXIT.failure;
  }
}

// A reader that went away is no reason for a stack trace.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

const exitCode = await main();
// What was written to a pipe must get out; whatever else is still open (a worker's thread) must not keep us.
await new Promise<void>((resolve) => {
  process.stdout.write('', () => resolve());
});
process.exit(exitCode);
