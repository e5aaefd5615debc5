/* Nothing outside the described elements is read or written: every tensor stands between two pages that may not be
   touched, flush against one of them; inputs are read-only; gaps between elements hold NaN, or a mark in outputs. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, sigaction */
#endif
#include "cases.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DENSE, SPREAD, BACKWARDS, ROW_LAYOUTS, PADDED_ROWS = ROW_LAYOUTS, TURNED, BROADCAST, LAYOUTS };
static const char *const layout_names[] = {"dense", "spread", "backwards", "padded rows", "turned", "broadcast"};

typedef struct region {
  unsigned char *memory, *inner;
  size_t length, inner_length;
} region;

typedef struct guards {
  int layout, at_the_end;
  region regions[MAX_INPUTS + MAX_OUTPUTS];
} guards;

static char current[240];

static void on_fault(int signal) {
  static const char text[] = "touched memory outside its elements (or crashed): ";
  ssize_t written = write(1, text, sizeof text - 1);
  written += write(1, current, strlen(current));
  written += write(1, "\n", 1);
  _exit(written ? 128 + signal : 1);
}

/* Sets strides; gives the number of elements that the tensor spans, and where its first one is among them. */
static void lay_out(segloss_tensor *t, int layout, int is_output, int64_t *span, int64_t *origin) {
  int r = t->rank, i;
  int64_t h = r > 1 ? t->shape[r - 2] : 1, w = r > 0 ? t->shape[r - 1] : 1, low = 0, high = 0;
  spell_strides(t);
  switch (layout) {
  case SPREAD:
    for (i = 0; i < r; ++i) t->strides[i] *= 3;
    break;
  case PADDED_ROWS:
    if (r > 1) t->strides[r - 2] = w + 5;
    for (i = r - 3; i >= 0; --i) t->strides[i] = t->strides[i + 1] * t->shape[i + 1] + 2;
    break;
  case TURNED: /* columns first */
    if (r > 1) t->strides[r - 2] = 1, t->strides[r - 1] = h + 1;
    if (r > 2) t->strides[r - 3] = w * (h + 1);
    for (i = r - 4; i >= 0; --i) t->strides[i] = t->strides[i + 1] * t->shape[i + 1];
    break;
  case BACKWARDS:
    for (i = 0; i < r; ++i) t->strides[i] *= -1;
    break;
  case BROADCAST: /* all rows in one place; an output needs places of its own */
    for (i = 0; i < r - 1 && !is_output; ++i) t->strides[i] = 0;
  }
  for (i = 0; i < r; ++i) *(t->strides[i] < 0 ? &low : &high) += t->strides[i] * (t->shape[i] - 1);
  if (layout == DENSE) t->flags = SEGLOSS_DENSE;
  *span = high - low + 1;
  *origin = -low;
}

static void place_between_guards(void *context, int index, segloss_tensor *t) {
  guards *g = context;
  region *r = &g->regions[index];
  size_t page = (size_t)sysconf(_SC_PAGESIZE), size = t->type_bits / 8;
  int64_t span, origin;
  lay_out(t, g->layout, index >= MAX_INPUTS, &span, &origin);
  r->inner_length = ((size_t)span * size + page - 1) / page * page;
  r->length = r->inner_length + 2 * page;
  r->memory = mmap(NULL, r->length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (r->memory == MAP_FAILED) abort();
  r->inner = r->memory + page;
  if (mprotect(r->inner, r->inner_length, PROT_READ | PROT_WRITE)) abort();
  memset(r->inner, index < MAX_INPUTS ? 0xFF : UNTOUCHED, r->inner_length); /* 0xFF...: NaN, or -1 */
  t->data = r->inner + (g->at_the_end ? r->inner_length - (size_t)span * size : 0) + (size_t)origin * size;
}

static void check_case(const test_case *c, int type, int label_type, int layout, const int64_t *shape) {
  problem guarded, dense;
  guards g;
  int i;
  int64_t k, count;
  for (g.at_the_end = 0; g.at_the_end < 2; ++g.at_the_end) {
    memset(g.regions, 0, sizeof g.regions);
    g.layout = layout;
    sprintf(current, "%s, %s with %s, %ldx%ldx%ld, %s, at the %s", c->name, types[type].name, types[label_type].name,
            (long)shape[0], (long)shape[1], (long)shape[2], layout_names[layout], g.at_the_end ? "end" : "start");
    make_problem(&guarded, c, type, label_type, shape[0], shape[1], shape[2], 0, 5, place_between_guards, &g);
    make_problem(&dense, c, type, label_type, shape[0], shape[1], shape[2], 0, 5, place_by_malloc, NULL);
    for (i = 0; i < MAX_INPUTS; ++i) {
      if (!guarded.a.inputs[i]) continue;
      for (k = 0, count = count_of(&dense.inputs[i]); k < count; ++k)
        memcpy(element(&dense.inputs[i], k), element(&guarded.inputs[i], k), size_of(guarded.types[i]));
      if (mprotect(g.regions[i].inner, g.regions[i].inner_length, PROT_READ)) abort();
    }
    CHECK(c->entry->run(&guarded.a) == SEGLOSS_OK, "%s: %s", current, guarded.error.message);
    CHECK(c->entry->run(&dense.a) == SEGLOSS_OK, "%s: %s", current, dense.error.message);
    CHECK(same_results(&guarded, &dense), "%s: not what dense memory gives", current);
    if (c->entry->statistics && g.at_the_end) {
      fill_outputs(&guarded);
      CHECK(run_in_two(&guarded) == SEGLOSS_OK, "%s, in two: %s", current, guarded.error.message);
      CHECK(same_results(&guarded, &dense), "%s, in two: not what dense memory gives", current);
    }
    /* Apart from its elements an output's memory still has its mark. */
    for (i = 0; i < MAX_OUTPUTS; ++i) {
      region *r = &g.regions[MAX_INPUTS + i];
      size_t touched = 0, at;
      if (!guarded.a.outputs[i]) continue;
      for (k = 0, count = count_of(&guarded.outputs[i]); k < count; ++k)
        memset(element(&guarded.outputs[i], k), UNTOUCHED, size_of(type));
      for (at = 0; at < r->inner_length; ++at) touched += r->inner[at] != UNTOUCHED;
      CHECK(touched == 0, "%s: %lu bytes between the elements of %s were written", current, (unsigned long)touched,
            c->entry->outputs[i]);
    }
    for (i = 0; i < MAX_INPUTS + MAX_OUTPUTS; ++i)
      if (g.regions[i].memory) munmap(g.regions[i].memory, g.regions[i].length);
    free_problem(&dense);
  }
}

int main(void) {
  static const int64_t small[][3] = {{1, 1, 1},    {1, 1, 31},   {1, 1, 32}, {1, 1, 33},   {1, 1, 1023},
                                     {1, 1, 1024}, {1, 1, 1025}, {3, 7, 5},  {2, 33, 31}, {2, 5, 1025}};
  static const int64_t large[][3] = {{1, 1, 65535}, {1, 1, 65536}, {1, 1, 65537}, {2, 397, 337} /* several threads */,
                                    {2, 3, 32771}, {1, 2, 65537}};
  static const int predictions[] = {F32, F64, F16, BF16}, labels[] = {U8, F32, BOOL, I64, F16, I32, F64, BF16};
  struct sigaction action;
  int i, layout, turn = 0, width;
  size_t s;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_fault;
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  sigaction(SIGILL, &action, NULL);
  sigaction(SIGTRAP, &action, NULL);
  make_cases();
  for (i = 0; i < case_count; ++i) {
    for (s = 0; s < sizeof small / sizeof *small; ++s)
      for (layout = 0; layout < (small[s][1] > 1 ? LAYOUTS : ROW_LAYOUTS); ++layout, ++turn) {
        if (cases[i].entry->items && !cases[i].entry->items_entry && turn % 3) continue; /* reads as its loss does */
        check_case(&cases[i], F32, labels[turn % 8], layout, small[s]);
        check_case(&cases[i], predictions[1 + turn % 3], labels[turn % 7], layout, small[s]);
      }
    /* Every width up to two vectors and a bit (of classes so many positions), in every type and layout by turns. */
    for (width = 1; width <= 70; ++width, turn += 1 + width % 2) {
      int64_t shape[3] = {1, 2, 1};
      shape[2] = width;
      check_case(&cases[i], predictions[(width + i) % 4], labels[turn % 8], turn % LAYOUTS, shape);
    }
    s = (size_t)i % (sizeof large / sizeof *large);
    check_case(&cases[i], predictions[turn % 4], labels[turn % 8], turn % LAYOUTS, large[s]);
    turn += 5;
  }
  return report("guard");
}
