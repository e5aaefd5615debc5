/* Many callers at once, a changing number of threads, shutdown, forks, signals, cancelled threads and foreign runners:
   always the serial bits, and nothing that stays behind. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* usleep, alarm */
#endif
#include "cases.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef SANITIZED /* many times slower, and the memory is not the library's alone */
enum { IS_SANITIZED = 1, CALLERS = 16, PROBLEMS = 3, ROUNDS = 1, FORKS = 8, FIRST_FORKS = 20, CANCELLATIONS = 5 };
enum { CALLS = 2000, PROGRAM_CALLS = 300, SECONDS = 500 };
#else
enum { IS_SANITIZED = 0, CALLERS = 16, PROBLEMS = 3, ROUNDS = 3, FORKS = 64, FIRST_FORKS = 200, CANCELLATIONS = 40 };
enum { CALLS = 100000, PROGRAM_CALLS = 2000, SECONDS = 100 };
#endif
#ifdef WITHOUT_FORKS /* ThreadSanitizer does not know what a child's locks are */
enum { FORKS_AT_ALL = 0 };
#else
enum { FORKS_AT_ALL = 1 };
#endif

/* ---- Problems with their serial results ---- */

typedef struct job {
  problem wanted, own;
} job;

/* Large ones are worth several threads. */
static void make_job(job *j, const test_case *c, int number) {
  int type = number % 3 == 2 ? F64 : F32, is_large = number % 4 != 3, has_classes = c->entry->items && tells_classes(c);
  segloss_execution serial = segloss_execution_default();
  problem *both[2];
  int i;
  both[0] = &j->wanted, both[1] = &j->own;
  for (i = 0; i < 2; ++i)
    make_problem(both[i], c, type, U8, 2, !is_large ? 13 : has_classes ? 2 : 397,
                 !is_large ? 17 : has_classes ? 99991 : 337, 0, (uint32_t)number, place_by_malloc, NULL);
  serial.threads = 1;
  j->wanted.a.execution = &serial;
  CHECK(c->entry->run(&j->wanted.a) == SEGLOSS_OK, "%s: %s", c->name, j->wanted.error.message);
  j->wanted.a.execution = NULL;
}

static void free_job(job *j) {
  free_problem(&j->wanted);
  free_problem(&j->own);
}

/* 0 if the job gives its serial bits. */
static int run_job(job *j, int in_two, int threads) {
  segloss_execution execution = segloss_execution_default();
  int32_t status;
  execution.threads = threads;
  j->own.a.execution = &execution;
  fill_outputs(&j->own);
  status = in_two ? run_in_two(&j->own) : j->own.c->entry->run(&j->own.a);
  j->own.a.execution = NULL;
  return status != SEGLOSS_OK || !same_results(&j->own, &j->wanted);
}

/* ---- A flag, and runners ---- */

static pthread_mutex_t flag_mutex = PTHREAD_MUTEX_INITIALIZER;
static int flag;

static void set_flag(int value) {
  pthread_mutex_lock(&flag_mutex);
  flag = value;
  pthread_mutex_unlock(&flag_mutex);
}

static int is_flag_set(void) {
  int value;
  pthread_mutex_lock(&flag_mutex);
  value = flag;
  pthread_mutex_unlock(&flag_mutex);
  return value;
}

/* A plain loop, backwards. Counts its turns in the context, if there is one. */
static void run_in_a_loop(void *context, int32_t count, segloss_task task, void *task_context) {
  if (context) ++*(int *)context;
  while (count-- > 0) task(task_context, count);
}

typedef struct piece {
  segloss_task task;
  void *context;
  int32_t index;
} piece;

static void *run_piece(void *context) {
  piece *p = context;
  p->task(p->context, p->index);
  return NULL;
}

/* A new thread for every task. */
static void run_on_new_threads(void *context, int32_t count, segloss_task task, void *task_context) {
  enum { MOST = 256 };
  pthread_t threads[MOST];
  piece pieces[MOST];
  int32_t i;
  if (count > MOST) abort();
  ++*(int *)context;
  for (i = 0; i < count; ++i) {
    pieces[i].task = task, pieces[i].context = task_context, pieces[i].index = i;
    if (pthread_create(&threads[i], NULL, run_piece, &pieces[i])) abort();
  }
  for (i = 0; i < count; ++i) pthread_join(threads[i], NULL);
}

/* ---- Callers at once, while threads, pool and runner change ---- */

typedef struct caller {
  pthread_t thread;
  job jobs[PROBLEMS];
  int wrong, calls, until_flag;
} caller;

static caller callers[CALLERS];

static void *call(void *context) {
  caller *c = context;
  int round, i;
  for (round = 0; c->until_flag ? !is_flag_set() : round < ROUNDS; ++round)
    for (i = 0; i < PROBLEMS; ++i, ++c->calls) c->wrong += run_job(&c->jobs[i], round & 1, round % 3);
  return NULL;
}

static void start_callers(int count, int until_flag) {
  int i;
  set_flag(0);
  for (i = 0; i < count; ++i) {
    callers[i].until_flag = until_flag;
    callers[i].wrong = callers[i].calls = 0;
    if (pthread_create(&callers[i].thread, NULL, call, &callers[i])) abort();
  }
}

static void join_callers(int count, const char *what) {
  int i;
  for (i = 0; i < count; ++i) {
    pthread_join(callers[i].thread, NULL);
    CHECK(callers[i].calls > 0 && callers[i].wrong == 0, "%s: caller %d: %d of %d calls wrong", what, i,
          callers[i].wrong, callers[i].calls);
    checks += callers[i].calls - 1;
  }
}

static void *change_everything(void *context) {
  int turn;
  for (turn = 0; !is_flag_set(); ++turn) {
    segloss_set_num_threads(turn % 6);
    if (turn % 3 == 1) segloss_shutdown();
    if (turn % 7 == 0) segloss_set_runner(run_in_a_loop, NULL, 4);
    if (turn % 7 == 2) segloss_set_runner(NULL, NULL, 0);
    usleep(300);
  }
  *(int *)context = turn;
  return NULL;
}

static void callers_at_once(void) {
  pthread_t changer;
  int i, turns = 0;
  for (i = 0; i < CALLERS * PROBLEMS; ++i) { /* some of every loss, no two callers with the same */
    const test_case *c = &cases[i * case_count / (CALLERS * PROBLEMS)];
    make_job(&callers[i / PROBLEMS].jobs[i % PROBLEMS], c, i);
  }
  segloss_set_num_threads(4);
  start_callers(CALLERS, 0);
  join_callers(CALLERS, "callers alone");
  start_callers(CALLERS, 0);
  if (pthread_create(&changer, NULL, change_everything, &turns)) abort();
  join_callers(CALLERS, "while threads, pool and runner change");
  set_flag(1);
  pthread_join(changer, NULL);
  CHECK(turns > 10, "%d changes", turns);
  segloss_set_runner(NULL, NULL, 0);
  segloss_set_num_threads(0);
}

/* ---- Programs: what small calls share, plans that wait for the next call like the last ---- */

typedef struct dice_program {
  segloss_program header;
  segloss_program_tensor tensors[3]; /* input, target, no mask */
  segloss_dice_options options;
} dice_program;

static const dice_program small_dice = {
    {sizeof(segloss_program), SEGLOSS_PROPAGATE, "dice", 0, 2, 1, 3, 0, offsetof(dice_program, options)},
    {{0, -1, 0, 0}, {1, -1, 0, 0}, {-1, -1, 0, 0}},
    {sizeof(segloss_dice_options), 0, 1.0, NULL},
};

typedef struct program_caller {
  pthread_t thread;
  int number, wrong;
} program_caller;

/* Shapes that callers share, more of them than there are places for plans; every other call by addresses alone. */
static void *call_programs(void *context) {
  enum { MOST = 64 };
  program_caller *c = context;
  int round, i;
  for (round = 0; round < PROGRAM_CALLS; ++round) {
    const int64_t n = 1 + (c->number / 2 + round) % MOST;
    float x[MOST], value = -1, gradient[MOST], wanted[MOST];
    uint8_t y[MOST];
    double statistics[3];
    void *addresses[4];
    segloss_tensor arrays[2], number, written, expected;
    const segloss_tensor *gradients[1];
    segloss_overlap_parts parts = {sizeof parts, 0, 0, 0};
    segloss_program_call call = {sizeof call, SEGLOSS_PROGRAM_VALUE_AND_GRADIENT, &small_dice, sizeof small_dice, arrays, 2, 0,
                                 &number, gradients, NULL, 0, 3, NULL, statistics};
    for (i = 0; i < n; ++i) {
      x[i] = (float)(noise((uint32_t)(c->number * PROGRAM_CALLS + round), (uint32_t)i) % 2001) / 250 - 4;
      y[i] = x[i] > 1;
      gradient[i] = -1;
    }
    arrays[0] = segloss_from_dlpack(x, SEGLOSS_DEVICE_CPU, 0, 1, SEGLOSS_TYPE_FLOAT, 32, 1, &n, NULL, 0);
    arrays[1] = segloss_from_dlpack(y, SEGLOSS_DEVICE_CPU, 0, 1, SEGLOSS_TYPE_UINT, 8, 1, &n, NULL, 0);
    number = segloss_from_dlpack(&value, SEGLOSS_DEVICE_CPU, 0, 0, SEGLOSS_TYPE_FLOAT, 32, 1, NULL, NULL, 0);
    expected = written = arrays[0];
    written.data = gradient, expected.data = wanted;
    c->wrong += segloss_dice(&arrays[0], &arrays[1], NULL, NULL, 1, &parts, &expected, NULL, NULL) != SEGLOSS_OK;
    gradients[0] = &written;
    if (round & 1) {
      addresses[0] = x, addresses[1] = y, addresses[2] = &value, addresses[3] = gradient;
      arrays[0].data = arrays[1].data = number.data = written.data = NULL;
      call.addresses = addresses;
    }
    c->wrong += segloss_program_run(&call, NULL) != SEGLOSS_OK || value != (float)parts.loss ||
                memcmp(gradient, wanted, (size_t)n * sizeof *wanted) != 0;
  }
  return NULL;
}

static void programs_at_once(void) {
  static program_caller programs[CALLERS];
  pthread_t changer;
  int i, turns = 0;
  set_flag(0);
  if (pthread_create(&changer, NULL, change_everything, &turns)) abort();
  for (i = 0; i < CALLERS; ++i) {
    programs[i].number = i;
    if (pthread_create(&programs[i].thread, NULL, call_programs, &programs[i])) abort();
  }
  for (i = 0; i < CALLERS; ++i) {
    pthread_join(programs[i].thread, NULL);
    CHECK(programs[i].wrong == 0, "programs: caller %d: %d of %d calls wrong", i, programs[i].wrong, PROGRAM_CALLS);
    checks += PROGRAM_CALLS - 1;
  }
  set_flag(1);
  pthread_join(changer, NULL);
  segloss_set_runner(NULL, NULL, 0);
  segloss_set_num_threads(0);
}

/* ---- fork ---- */

/* Forks while another thread is in the very first call of the process, when everything lazy is being made: whatever is
   half-made, or locked, at that moment stays so in the child. Nothing of the library may have run in this process. */
static void *call_first(void *context) {
  job *j = context;
  j->wanted.c->entry->run(&j->wanted.a);
  return NULL;
}

static void forks_during_first_calls(void) {
  int i;
  for (i = 0; i < FIRST_FORKS && failures < 3; ++i) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) { /* a process where nothing has been called */
      const test_case *c = &cases[i * 7 % case_count];
      job j;
      pthread_t thread;
      volatile int wait;
      make_problem(&j.wanted, c, F32, U8, 2, 13, 17, 0, 1, place_by_malloc, NULL);
      make_problem(&j.own, c, F32, U8, 2, 13, 17, 0, 1, place_by_malloc, NULL);
      if (pthread_create(&thread, NULL, call_first, &j)) abort();
      for (wait = 0; wait < i * i % 1000 * 400; ++wait) {}
      child = fork();
      if (child == 0) {
        alarm(20);
        _exit(c->entry->run(&j.own.a) != SEGLOSS_OK);
      }
      pthread_join(thread, NULL);
      waitpid(child, &status, 0);
      _exit(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
    }
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a fork during the first call, %d", i);
  }
}

/* What a child does: one job on several threads; in one of eight another as the setting says, and both again. */
static void be_the_child(job *first, job *second, int number) {
  alarm(20); /* a hang ends as a signal; far longer than the calls take on a busy machine */
  segloss_set_num_threads(4);
  if (number % 8) _exit(run_job(first, number & 1, 3));
  _exit(run_job(first, 0, 3) + 2 * run_job(second, 1, 0) + 4 * run_job(first, 0, 1));
}

static void check_child(pid_t child, const char *what, int number) {
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: child %d ended with %s %d", what, number,
        WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void check_child_after(job *j, const char *what) {
  pid_t child = fork();
  if (child == 0) be_the_child(j, j, 0);
  check_child(child, what, 0);
}

static void forks_among_callers(void) {
  enum { BUSY = 4 };
  job jobs[2];
  int i, already = (int)failures;
  make_job(&jobs[0], &cases[5], 5);
  make_job(&jobs[1], &cases[case_count / 2], 20);
  segloss_set_num_threads(4);
  start_callers(BUSY, 1);
  for (i = 0; i < FORKS && failures < already + 3; ++i) {
    pid_t child = fork();
    if (child == 0) be_the_child(&jobs[0], &jobs[1], i);
    check_child(child, "fork while others compute", i);
  }
  set_flag(1);
  join_callers(BUSY, "callers around forks");
  /* And alone: after calls, after shutdown. */
  for (i = 0; i < 2; ++i) {
    pid_t child;
    if (i == 1) segloss_shutdown();
    child = fork();
    if (child == 0) be_the_child(&jobs[0], &jobs[1], i);
    check_child(child, i ? "fork after shutdown" : "fork after calls", i);
    CHECK(run_job(&jobs[0], 0, 3) == 0, "the parent after a fork");
  }
  segloss_set_num_threads(0);
  free_job(&jobs[0]);
  free_job(&jobs[1]);
}

/* ---- Runners ---- */

static void runners(void) {
  static const struct {
    const char *name;
    segloss_run run;
  } all[] = {{"a loop", run_in_a_loop}, {"new threads", run_on_new_threads}};
  int r, i;
  segloss_set_num_threads(8);
  for (i = 0; i < case_count; ++i) {
    job j;
    make_job(&j, &cases[i], i);
    for (r = 0; r < 2; ++r) {
      int turns = 0;
      segloss_set_runner(all[r].run, &turns, 3);
      CHECK(run_job(&j, 0, 0) == 0, "%s by %s", j.own.c->name, all[r].name);
      CHECK(run_job(&j, 1, 0) == 0, "%s by %s, in two", j.own.c->name, all[r].name);
      CHECK(turns > 0 || i % 4 == 3, "%s: %s was not asked", j.own.c->name, all[r].name);
      segloss_set_runner(NULL, NULL, 0);
    }
    free_job(&j);
  }
  segloss_set_num_threads(0);
}

/* ---- Signals and cancelled threads ---- */

static int signals_handled;

static void on_profile(int signal) {
  (void)signal;
  __atomic_fetch_add(&signals_handled, 1, __ATOMIC_RELAXED); /* on several threads */
}

/* A handler that interrupts whatever the callers wait for, hundreds of times; the pool's own threads take no signals. */
static void signals_among_callers(void) {
  struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_profile; /* without SA_RESTART */
  sigaction(SIGPROF, &action, NULL);
  segloss_set_num_threads(4);
  setitimer(ITIMER_PROF, &often, NULL);
  start_callers(4, 0);
  join_callers(4, "callers with signals");
  setitimer(ITIMER_PROF, &never, NULL);
  CHECK(signals_handled > 10, "%d signals", signals_handled);
  segloss_set_num_threads(0);
}

static void *call_until_cancelled(void *context) {
  for (;;) {
    run_job(context, 0, 4);
    pthread_testcancel();
  }
  return NULL;
}

/* A call is no point of cancellation: a thread that is cancelled in one ends after it, and leaves the pool as it was. */
static void cancelled_callers(void) {
  job jobs[2];
  int i;
  make_job(&jobs[0], &cases[5], 5);
  make_job(&jobs[1], &cases[5], 5);
  for (i = 0; i < CANCELLATIONS; ++i) {
    pthread_t thread;
    void *result = NULL;
    if (pthread_create(&thread, NULL, call_until_cancelled, &jobs[0])) abort();
    usleep((unsigned)i * 211 % 3000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    CHECK(result == PTHREAD_CANCELED, "a thread was not cancelled");
    CHECK(run_job(&jobs[1], 0, 4) == 0, "a call after a thread was cancelled");
  }
  segloss_shutdown(); /* would wait for ever if the pool were held */
  if (FORKS_AT_ALL) check_child_after(&jobs[1], "fork after threads were cancelled");
  free_job(&jobs[0]);
  free_job(&jobs[1]);
}

/* ---- Nothing stays behind ---- */

/* Memory of no file, counted: what statm says is behind by up to 32 pages for each processor. */
static long anonymous_kilobytes(void) {
  char line[256];
  long anonymous = 0;
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  if (!file) return 0; /* not Linux */
  while (fgets(line, sizeof line, file) && sscanf(line, "Anonymous: %ld", &anonymous) != 1) continue;
  fclose(file);
  return anonymous;
}

/* 10^5 calls, of every case in turn, a tenth of them refused: no more memory after them than after the first few. */
static void memory_stays(void) {
  static problem problems[sizeof cases / sizeof *cases];
  const segloss_tensor *good;
  long before = 0, after;
  int i, wrong = 0;
  for (i = 0; i < case_count; ++i) make_problem(&problems[i], &cases[i], F32, U8, 2, 5, 7, 0, 3, place_by_malloc, NULL);
  for (i = 0; i < CALLS; ++i) {
    problem *p = &problems[i % case_count];
    if (i == CALLS / 10) before = anonymous_kilobytes();
    good = p->a.inputs[0];
    if (i % 10 == 3) p->a.inputs[0] = NULL;
    wrong += (p->c->entry->run(&p->a) == SEGLOSS_OK) == (i % 10 == 3);
    p->a.inputs[0] = good;
  }
  after = anonymous_kilobytes();
  CHECK(wrong == 0, "%d of %d calls", wrong, CALLS);
  CHECK(IS_SANITIZED || after - before < 256, "%ld kB more after %d calls", after - before, CALLS); /* the allocator's own: a few */
  for (i = 0; i < case_count; ++i) free_problem(&problems[i]);
}

static int count_threads(void) {
  int threads = 0;
  DIR *tasks = opendir("/proc/self/task");
  if (!tasks) return 0; /* not Linux */
  while (readdir(tasks)) ++threads;
  closedir(tasks);
  return threads;
}

static void threads_end(int before) {
  int turn;
  for (turn = 0; turn < 3; ++turn) {
    job j;
    make_job(&j, &cases[0], 0);
    CHECK(run_job(&j, 0, 4) == 0, "a call after shutdown");
    CHECK(before == 0 || count_threads() > before, "no threads of its own");
    free_job(&j);
    segloss_shutdown();
    /* ThreadSanitizer starts one of its own with the first that it sees. */
    CHECK(count_threads() - before <= IS_SANITIZED, "%d threads more after shutdown", count_threads() - before);
  }
}

int main(void) {
  int i, threads = count_threads();
  alarm(SECONDS);
  make_cases();
  if (FORKS_AT_ALL) forks_during_first_calls(); /* before anything else calls the library */
  memory_stays(); /* before threads leave holes in the heap, which the allocator fills at its leisure */
  callers_at_once();
  programs_at_once();
  if (FORKS_AT_ALL) forks_among_callers();
  signals_among_callers();
  for (i = 0; i < CALLERS * PROBLEMS; ++i) free_job(&callers[i / PROBLEMS].jobs[i % PROBLEMS]);
  runners();
  cancelled_callers();
  threads_end(threads);
  return report("concurrent");
}
