# The native addon: node-gyp reads this and leaves build/Release/basewire.node.
{
  'variables': {
    # `node-gyp rebuild -- -Dasan=1`: with AddressSanitizer and UndefinedBehaviorSanitizer (see native/README.md).
    'asan%': 0,
  },
  'targets': [
    {
      'target_name': 'basewire',
      'sources': [
        'native/addon.cc',
        'native/arguments.cc',
        'native/bells.cc',
        'native/clock.cc',
        'native/copy.cc',
        'native/descriptors.cc',
        'native/memory.cc',
        'native/own-descriptors.cc',
        'native/packet.cc',
        'native/passed.cc',
        'native/process.cc',
        'native/regions.cc',
        'native/sockets.cc',
        'native/sum.cc',
        'native/waiter.cc',
      ],
      'include_dirs': ["<!(node -p \"require('node-addon-api').include_dir\")"],
      # The last but one: a worker may be ended while a call of it fails. Its error can't be thrown then, which must not end the process.
      'defines': ['NAPI_VERSION=9', 'NODE_ADDON_API_CPP_EXCEPTIONS_ALL', 'NODE_ADDON_API_CPP_EXCEPTIONS', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS', '_GNU_SOURCE'],
      'cflags!': ['-fno-exceptions', '-O3'],
      'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-O3'],
      'cflags': ['-O2', '-Wall', '-Wextra', '-Wno-unused-parameter', '-fvisibility=hidden'],
      'cflags_cc': ['-fexceptions'],
      # Never unloaded: the SIGBUS handler outlives the worker that loaded the addon first.
      'ldflags': ['-Wl,-z,nodelete'],
      'conditions': [
        ['asan==1', {
          'cflags!': ['-O2'],
          'cflags': ['-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-fno-omit-frame-pointer'],
          'ldflags': ['-fsanitize=address,undefined'],
        }],
      ],
    },
  ],
}
