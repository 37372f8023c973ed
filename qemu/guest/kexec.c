/*
 * kexec KERNEL INITRD: starts another kernel from the running one, without firmware in between. It
 * gets the command line of the running one. Comes back only when that can't be done.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(const char *what) {
  fprintf(stderr, "kexec: %s: %s\n", what, strerror(errno));
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fputs("usage: kexec KERNEL INITRD\n", stderr);
    return 2;
  }
  int kernel = open(argv[1], O_RDONLY);
  if (kernel < 0) return fail(argv[1]);
  int initrd = open(argv[2], O_RDONLY);
  if (initrd < 0) return fail(argv[2]);

  char line[4096];
  int file = open("/proc/cmdline", O_RDONLY);
  ssize_t length = file < 0 ? -1 : read(file, line, sizeof line);
  if (length <= 0) return fail("/proc/cmdline");
  line[length - 1] = 0; /* in place of the line's end */

  if (syscall(SYS_kexec_file_load, kernel, initrd, (unsigned long)length, line, 0UL) != 0) {
    return fail("kexec_file_load");
  }
  syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, 0);
  return fail("reboot");
}
