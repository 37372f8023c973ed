// Loaded into every process of `npm run test:asan`: takes the sanitized addon instead of the ordinary one.
const sanitized = process.env.BASEWIRE_SANITIZED_ADDON;
const open = process.dlopen;
process.dlopen = (module, file, ...rest) =>
  open.call(process, module, file.endsWith('/basewire.node') ? sanitized : file, ...rest);
