/* The harness without the fuzzer: runs each file that it is given, and says which one it was if the process dies. With
   --all, also that every function was called and went well at least once. */
#include "harness.c"

#include <signal.h>

static const char *current;

static void on_death(int signal) {
  static const char text[] = "died of: ";
  ssize_t written = write(2, text, sizeof text - 1);
  written += write(2, current, strlen(current));
  written += write(2, "\n", 1);
  _exit(written ? 128 + signal : 1);
}

int main(int count, char **paths) {
  static uint8_t input[1 << 16];
  static const int deaths[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT, SIGALRM};
  int i, all = 0, missing = 0, files = 0;
  for (i = 0; i < (int)(sizeof deaths / sizeof *deaths); ++i) signal(deaths[i], on_death);
  for (i = 1; i < count; ++i) {
    FILE *file;
    size_t size;
    if (!strcmp(paths[i], "--all")) {
      all = 1;
      continue;
    }
    current = paths[i];
    if (!(file = fopen(current, "rb"))) return perror(current), 1;
    size = fread(input, 1, sizeof input, file);
    fclose(file);
    alarm(20); /* a hang ends as a signal */
    LLVMFuzzerTestOneInput(input, size);
    ++files;
  }
  segloss_shutdown(); /* what is left then is a leak */
  for (i = 0; all && i < FUNCTIONS; ++i) {
    if (successes[i]) continue;
    printf("%s: %ld calls, none went well\n", functions[i].name, calls[i]);
    ++missing;
  }
  printf("replay: %d inputs, %d of %d functions did not go well (%s)\n", files, missing, FUNCTIONS,
         segloss_instruction_set(NULL));
  return missing != 0;
}
