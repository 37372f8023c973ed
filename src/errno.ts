/** Linux's error numbers as the addon's calls return them: negative (`errno(3)`, include/uapi/asm-generic/errno.h). */
export const EINTR = -4;
export const ENXIO = -6;
export const EAGAIN = -11;
export const ENODEV = -19;
export const EINVAL = -22;
export const EMFILE = -24;
export const EMSGSIZE = -90;
export const ENETDOWN = -100;
export const ENOBUFS = -105;
