/* Arguments that no caller should send: each gets its status and a sentence that names it, and no output is touched.
   Each group runs in a process of its own, so that a crash or a hang is one failure and not the end. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, setenv, alarm */
#endif
#include "cases.h"

#include <limits.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 2, H = 5, W = 7, MOST_BYTES = N * H * W * ANCHORS_OF_A_PLACE * 4 * 8, SECONDS = 60 };

/* ---- Calls that are refused, or not ---- */

static int is_marked(const void *memory, size_t bytes) {
  const unsigned char *at = memory;
  size_t i;
  for (i = 0; i < bytes; ++i)
    if (at[i] != UNTOUCHED) return 0;
  return 1;
}

static void make_small(problem *p, const test_case *c, int label_type) {
  make_problem(p, c, F32, label_type, N, H, W, 0, 3, place_by_malloc, NULL);
}

/* Whether the sentence is about `name`. */
static int names(const char *message, const char *name) {
  size_t length = strlen(name);
  if (strncmp(message, name, length) != 0) return 0;
  return message[length] == ':' || strncmp(message + length, "[0]:", 4) == 0; /* or the first of a list */
}

/* Calls f, with and without an error struct, and expects `status`; outputs in p->outputs, parts and statistics must
   stay what they were. */
static void refused(problem *p, function *f, int32_t status, const char *name, const char *what) {
  double statistics[MAX_STATISTICS];
  size_t bytes = (size_t)p->length * sizeof *statistics;
  int32_t got, silent;
  int i;
  fill_outputs(p);
  memset(&p->error, 0xEE, sizeof p->error);
  if (f == p->c->entry->statistics) memset(p->statistics, UNTOUCHED, bytes);
  memcpy(statistics, p->statistics, bytes);
  got = f(&p->a);
  CHECK(got == status, "%s, %s of %s: expected %s, got %s (%.200s)", p->c->name, what, name,
        segloss_status_name(status), segloss_status_name(got), p->error.message);
  CHECK(p->error.status == got && memchr(p->error.message, 0, sizeof p->error.message), "%s: the error", p->c->name);
  CHECK(got == SEGLOSS_OK || names(p->error.message, name), "%s, %s of %s: the sentence is \"%.200s\"", p->c->name,
        what, name, p->error.message);
  p->a.error = NULL;
  silent = f(&p->a);
  p->a.error = &p->error;
  CHECK(silent == got, "%s, %s of %s, without an error: %s", p->c->name, what, name, segloss_status_name(silent));
  for (i = 0; i < MAX_OUTPUTS; ++i)
    if (p->outputs[i].data)
      CHECK(is_marked(p->outputs[i].data, (size_t)count_of(&p->outputs[i]) * size_of(p->output_type)),
            "%s, %s of %s: %s was written", p->c->name, what, name, p->c->entry->outputs[i]);
  CHECK(is_marked((char *)&p->parts + 4, sizeof p->parts - 4),
        "%s, %s of %s: parts were written", p->c->name, what, name);
  CHECK(memcmp(statistics, p->statistics, bytes) == 0, "%s, %s of %s: statistics were written", p->c->name, what, name);
}

static void went_well(problem *p, int32_t status, const char *what) {
  CHECK(status == SEGLOSS_OK, "%s, %s: %s: %.200s", p->c->name, what, segloss_status_name(status), p->error.message);
  CHECK(p->error.status == 0 && p->error.message[0] == 0, "%s, %s: the error", p->c->name, what);
}

static void accepted(problem *p, function *f, const char *what) { went_well(p, f(&p->a), what); }
static void accepted_in_two(problem *p, const char *what) { went_well(p, run_in_two(p), what); }

/* Refused by every function of the entry that takes the argument in question. */
static void refused_by_all(problem *p, int32_t status, const char *name, const char *what, int is_output) {
  const entry *e = p->c->entry;
  double saved[MAX_STATISTICS];
  size_t bytes = (size_t)p->length * sizeof *saved;
  memcpy(saved, p->statistics, bytes);
  refused(p, e->run, status, name, what);
  if (e->statistics && !is_output) refused(p, e->statistics, status, name, what);
  memcpy(p->statistics, saved, bytes);
  if (e->finish) refused(p, e->finish, status, name, what);
}

/* Good statistics for finish, from good inputs. */
static void prepare(problem *p) {
  if (p->c->entry->statistics) accepted(p, p->c->entry->statistics, "good statistics");
}

/* ---- Descriptors ---- */

/* Strides that are stepped, in a shape that need not be the right one: strides are looked at first. */
static void spell_steps(segloss_tensor *t) {
  spell_strides(t);
  t->shape[0] = N, t->shape[1] = H;
}

/* Spoils a dense tensor in way 0, 1, ...; the status that is due, or -1 after the last way. */
static int32_t spoil(segloss_tensor *t, int way, const char **what) {
  while (t->rank < 3) t->shape[t->rank++] = 1; /* dimensions to spoil; no call gets as far as the wrong rank */
  switch (way) {
  case 0: *what = "rank -1"; t->rank = -1; return SEGLOSS_RANK;
  case 1: *what = "rank 7"; t->rank = 7; return SEGLOSS_RANK;
  case 2: *what = "the lowest rank"; t->rank = INT32_MIN; return SEGLOSS_RANK;
  case 3: *what = "the highest rank"; t->rank = INT32_MAX; return SEGLOSS_RANK;
  case 4: *what = "extent -1"; t->shape[0] = -1; return SEGLOSS_SHAPE;
  case 5: *what = "extent -1, inner"; t->shape[2] = -1; return SEGLOSS_SHAPE;
  case 6: *what = "the lowest extent"; t->shape[1] = INT64_MIN; return SEGLOSS_SHAPE;
  case 7: *what = "the highest extent"; t->shape[1] = INT64_MAX; return SEGLOSS_SHAPE;
  case 8: *what = "2^64 elements"; t->shape[0] = t->shape[1] = (int64_t)1 << 32; return SEGLOSS_SHAPE;
  case 9: *what = "2^62 bytes"; t->shape[0] = (int64_t)1 << 60; t->shape[1] = t->shape[2] = 1; return SEGLOSS_SHAPE;
  case 10: *what = "negative times negative"; t->shape[0] = -N; t->shape[1] = -H; return SEGLOSS_SHAPE;
  case 11: *what = "2^63 rows of nothing"; t->shape[0] = INT64_MIN; t->shape[1] = 0; return SEGLOSS_SHAPE;
  case 12: *what = "int8"; t->type_code = SEGLOSS_TYPE_INT; t->type_bits = 8; return SEGLOSS_ELEMENT_TYPE;
  case 13: *what = "uint16"; t->type_code = SEGLOSS_TYPE_UINT; t->type_bits = 16; return SEGLOSS_ELEMENT_TYPE;
  case 14: *what = "complex64"; t->type_code = 5; t->type_bits = 64; return SEGLOSS_ELEMENT_TYPE;
  case 15: *what = "float8"; t->type_code = SEGLOSS_TYPE_FLOAT; t->type_bits = 8; return SEGLOSS_ELEMENT_TYPE;
  case 16: *what = "bits of 1"; t->type_code = SEGLOSS_TYPE_BOOL; t->type_bits = 1; return SEGLOSS_ELEMENT_TYPE;
  case 17: *what = "bfloat32"; t->type_code = SEGLOSS_TYPE_BFLOAT; t->type_bits = 32; return SEGLOSS_ELEMENT_TYPE;
  case 18: *what = "type 255"; t->type_code = 255; return SEGLOSS_ELEMENT_TYPE;
  case 19: *what = "no bits"; t->type_bits = 0; return SEGLOSS_ELEMENT_TYPE;
  case 20: *what = "two lanes"; t->type_lanes = 2; return SEGLOSS_ELEMENT_TYPE;
  case 21: *what = "no lanes"; t->type_lanes = 0; return SEGLOSS_ELEMENT_TYPE;
  case 22: *what = "CUDA"; t->device_type = 2; return SEGLOSS_DEVICE;
  case 23: *what = "device 0"; t->device_type = 0; return SEGLOSS_DEVICE;
  case 24: *what = "device -1"; t->device_type = -1; return SEGLOSS_DEVICE;
  case 25: *what = "flag 2"; t->flags = 2; return SEGLOSS_LAYOUT;
  case 26: *what = "flag 2 with dense"; t->flags = 3; return SEGLOSS_LAYOUT;
  case 27: *what = "flag 2^31"; t->flags = 1u << 31; return SEGLOSS_LAYOUT;
  case 28: *what = "the highest stride"; spell_steps(t); t->strides[0] = INT64_MAX; return SEGLOSS_LAYOUT;
  case 29: *what = "the lowest stride"; spell_steps(t); t->strides[0] = INT64_MIN; return SEGLOSS_LAYOUT;
  case 30: *what = "a stride of half"; spell_steps(t); t->strides[1] = INT64_MIN / 8; return SEGLOSS_LAYOUT;
  case 31: *what = "strides that add up"; spell_steps(t); t->strides[0] = t->strides[1] = INT64_MAX / 17;
           return SEGLOSS_LAYOUT;
  case 32: *what = "no data"; t->data = NULL; return SEGLOSS_NULL_POINTER;
  default: return -1;
  }
}

static void descriptors(void) {
  int i, k, way;
  for (i = 0; i < case_count; ++i) {
    problem p;
    make_small(&p, &cases[i], U8);
    prepare(&p);
    for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
      int is_output = k >= MAX_INPUTS, slot = is_output ? k - MAX_INPUTS : k;
      const segloss_tensor **place = is_output ? &p.a.outputs[slot] : &p.a.inputs[slot], *good = *place;
      const char *name = is_output ? p.c->entry->outputs[slot] : p.c->entry->inputs[slot], *what;
      if (!good) continue;
      for (way = 0;; ++way) {
        segloss_tensor bad = *good;
        int32_t status = spoil(&bad, way, &what);
        if (status < 0) break;
        *place = &bad;
        refused_by_all(&p, status, name, what, is_output);
      }
      *place = good;
    }
    free_problem(&p);
  }
}

/* What a tensor must have in common with the first one. */
static void mismatches(void) {
  int i, k, r;
  for (i = 0; i < case_count; ++i) {
    problem p;
    make_small(&p, &cases[i], U8);
    prepare(&p);
    for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
      int is_output = k >= MAX_INPUTS, slot = is_output ? k - MAX_INPUTS : k;
      const segloss_tensor **place = is_output ? &p.a.outputs[slot] : &p.a.inputs[slot], *good = *place;
      const char *name = is_output ? p.c->entry->outputs[slot] : p.c->entry->inputs[slot];
      char role = !good ? 0 : is_output ? output_role(p.c, slot) : p.c->roles[slot];
      segloss_tensor bad;
      if (!good) continue;
      *place = &bad;
      r = good->rank;
      if (k > 0) {
        if (r > 0) {
          bad = *good, --bad.shape[r - 1];
          refused_by_all(&p, SEGLOSS_SHAPE, name, "a column less", is_output);
          bad = *good, bad.shape[0] = 0;
          refused_by_all(&p, SEGLOSS_SHAPE, name, "emptiness", is_output);
          bad = *good, --bad.rank;
          refused_by_all(&p, SEGLOSS_SHAPE, name, "a rank less", is_output);
        }
        if (r > 1) {
          bad = *good, bad.shape[0] = good->shape[r - 1], bad.shape[r - 1] = good->shape[0];
          refused_by_all(&p, SEGLOSS_SHAPE, name, "a turned shape", is_output);
        }
        bad = *good, bad.rank = r + 2, bad.shape[r] = bad.shape[r + 1] = 1;
        refused_by_all(&p, SEGLOSS_SHAPE, name, "two ranks more", is_output);
      }
      if (is_class_label(role)) {
        bad = *good, bad.type_code = SEGLOSS_TYPE_FLOAT, bad.type_bits = 32;
        refused_by_all(&p, SEGLOSS_ELEMENT_TYPE, name, "labels in float32", is_output);
      }
      if (k > 0 && is_prediction(role)) {
        bad = *good, bad.type_bits = 64;
        refused_by_all(&p, SEGLOSS_ELEMENT_TYPE, name, "another float", is_output);
        bad = *good, bad.type_bits = 16;
        refused_by_all(&p, SEGLOSS_ELEMENT_TYPE, name, "float16 among float32", is_output);
      }
      if (is_prediction(role) || is_one_of("oi", role)) {
        bad = *good, bad.type_code = SEGLOSS_TYPE_UINT, bad.type_bits = 8;
        refused_by_all(&p, SEGLOSS_ELEMENT_TYPE, name, "bytes", is_output);
        bad = *good, bad.type_code = SEGLOSS_TYPE_INT;
        refused_by_all(&p, SEGLOSS_ELEMENT_TYPE, name, "int32", is_output);
      }
      if (k == 0 && is_window(p.c->entry)) {
        bad = *good, bad.rank = 2;
        refused_by_all(&p, SEGLOSS_RANK, name, "rank 2", 0);
        bad = *good, bad.rank = 5, bad.shape[4] = 1;
        if (r < 4) bad.shape[3] = 1;
        refused_by_all(&p, SEGLOSS_RANK, name, "rank 5", 0);
      }
      if (k == 0 && (p.c->entry == &DB || p.c->entry == &L1_BALANCE_CE || strstr(p.c->name, "OHEM"))) {
        bad = *good, bad.rank = 2;
        if (p.c->entry == &BALANCE) {
          segloss_tensor all[3]; /* the others have its shape: only the rank is wrong */
          int j;
          for (j = 0; j < 3; ++j) all[j] = p.inputs[j], all[j].rank = 2, p.a.inputs[j] = &all[j];
          refused_by_all(&p, SEGLOSS_RANK, name, "rank 2", 0);
          for (j = 0; j < 3; ++j) p.a.inputs[j] = &p.inputs[j];
        } else {
          refused_by_all(&p, SEGLOSS_RANK, name, "rank 2", 0);
          bad = *good, bad.rank = 4, bad.shape[3] = 1;
          refused_by_all(&p, SEGLOSS_RANK, name, "rank 4 without a unit channel", 0);
        }
      }
      *place = good;
    }
    free_problem(&p);
  }
}

static void nulls(void) {
  int i, k;
  for (i = 0; i < case_count; ++i) {
    problem p;
    const entry *e = cases[i].entry;
    make_small(&p, &cases[i], U8);
    prepare(&p);
    for (k = 0; k < MAX_INPUTS; ++k) {
      if (!p.a.inputs[k]) continue;
      p.a.inputs[k] = NULL;
      if (e->optional >> k & 1) accepted(&p, e->run, "without it"), fill_outputs(&p);
      else refused_by_all(&p, SEGLOSS_NULL_POINTER, e->inputs[k], "NULL", 0);
      p.a.inputs[k] = &p.inputs[k];
    }
    if (!e->statistics && e->outputs[1] == NULL) { /* the one thing that such a call is for */
      p.a.outputs[0] = NULL;
      refused_by_all(&p, SEGLOSS_NULL_POINTER, e->outputs[0], "NULL", 1);
      p.a.outputs[0] = &p.outputs[0];
    }
    if (e->outputs[1]) { /* each output by itself, and none */
      for (k = 0; k < 8; ++k) {
        int o;
        for (o = 0; o < MAX_OUTPUTS; ++o) p.a.outputs[o] = has_output(p.c, o) && k >> o & 1 ? &p.outputs[o] : NULL;
        accepted(&p, e->run, "some outputs");
      }
      for (k = 0; k < MAX_OUTPUTS; ++k) p.a.outputs[k] = has_output(p.c, k) ? &p.outputs[k] : NULL;
      fill_outputs(&p);
    }
    if (e->statistics) {
      p.a.statistics = NULL;
      refused(&p, e->statistics, SEGLOSS_NULL_POINTER, "statistics", "NULL");
      refused(&p, e->finish, SEGLOSS_NULL_POINTER, "statistics", "NULL");
      p.a.statistics = p.statistics;
    }
    if (strchr(cases[i].roles, '-') && (e == &DB || e == &L1_BALANCE_CE)) {
      /* All of the other maps or none, and no gradient of those left out. */
      segloss_tensor thresh = p.inputs[0];
      thresh.data = malloc(N * H * W * 4);
      p.a.outputs[1] = &thresh;
      refused_by_all(&p, SEGLOSS_UNSUPPORTED, e->outputs[1], "a gradient without its prediction", 1);
      p.a.outputs[1] = NULL;
      p.a.inputs[1] = &thresh;
      refused_by_all(&p, SEGLOSS_NULL_POINTER, e->inputs[2], "one map of four", 0);
      p.a.inputs[1] = NULL;
      free(thresh.data);
    }
    /* Everything NULL: whichever is named, it is a refusal. */
    {
      arguments none;
      memset(&none, 0, sizeof none);
      CHECK(e->run(&none) == SEGLOSS_NULL_POINTER, "%s: all NULL", cases[i].name);
      if (e->statistics) {
        CHECK(e->statistics(&none) == SEGLOSS_NULL_POINTER, "%s: all NULL", cases[i].name);
        CHECK(e->finish(&none) == SEGLOSS_NULL_POINTER, "%s: all NULL", cases[i].name);
      }
    }
    free_problem(&p);
  }
}

/* ---- Views that are legal ---- */

/* Runs p, and expects the bits of a plain dense call. */
static void same_as_plain(problem *p, const char *what) {
  problem plain;
  int i;
  int64_t k;
  make_small(&plain, p->c, U8);
  for (i = 0; i < MAX_INPUTS; ++i) {
    if (!p->a.inputs[i]) continue;
    plain.inputs[i].type_code = p->a.inputs[i]->type_code;
    plain.inputs[i].type_bits = p->a.inputs[i]->type_bits;
    free(plain.inputs[i].data);
    place_by_malloc(NULL, i, &plain.inputs[i]);
    for (k = 0; k < count_of(&plain.inputs[i]); ++k)
      memcpy(element(&plain.inputs[i], k), element(p->a.inputs[i], k), p->a.inputs[i]->type_bits / 8);
  }
  accepted(&plain, p->c->entry->run, "plain");
  accepted(p, p->c->entry->run, what);
  CHECK(same_parts(p, &plain), "%s, %s: other parts", p->c->name, what);
  for (i = 0; i < MAX_OUTPUTS; ++i)
    if (p->a.outputs[i])
      CHECK(same_elements(p->a.outputs[i], &plain.outputs[i]), "%s, %s: another %s", p->c->name, what,
            p->c->entry->outputs[i]);
  free_problem(&plain);
}

/* Turns the last `count` dimensions of a tensor round. */
static void turn_round(segloss_tensor *t, int count) {
  int d;
  if (!(t->flags & SEGLOSS_DENSE) || t->rank == 0) abort();
  spell_strides(t);
  for (d = t->rank - 1; d >= 0 && d >= t->rank - count; --d) {
    t->data = (unsigned char *)t->data + t->strides[d] * (t->shape[d] - 1) * (t->type_bits / 8);
    t->strides[d] *= -1;
  }
}

static void legal_views(void) {
  int i, k, misalignment;
  void *starts[MAX_OUTPUTS];
  for (i = 0; i < case_count; ++i) {
    problem p;
    char what[60];
    /* Broadcast and backwards inputs. */
    for (k = 0; k < input_count(&cases[i]); ++k) {
      segloss_tensor view;
      int way, d;
      if (is_absent(&cases[i], k) || tensor_for(&cases[i], cases[i].roles[k], F32, N, H, W).rank == 0) continue;
      for (way = 0; way < 5; ++way) {
        make_small(&p, &cases[i], U8);
        view = p.inputs[k];
        spell_strides(&view);
        for (d = 0; d < view.rank; ++d) /* the first, all but the first, all */
          if ((way == 0 && d == 0) || (way == 1 && d > 0) || way == 2) view.strides[d] = 0;
        if (way > 2) view.flags = SEGLOSS_DENSE, turn_round(&view, way == 3 ? view.rank : 1);
        p.a.inputs[k] = &view;
        sprintf(what, "%s in way %d", cases[i].entry->inputs[k], way);
        same_as_plain(&p, what);
        free_problem(&p);
      }
    }
    /* Backwards outputs; unit extents with strides of any size; addresses of any alignment. */
    make_small(&p, &cases[i], U8);
    for (k = 0; k < MAX_OUTPUTS; ++k) {
      if (!p.a.outputs[k]) continue;
      starts[k] = p.outputs[k].data;
      if (p.outputs[k].rank > 0) turn_round(&p.outputs[k], p.outputs[k].rank);
    }
    same_as_plain(&p, "outputs backwards");
    for (k = 0; k < MAX_OUTPUTS; ++k)
      if (p.a.outputs[k]) p.outputs[k].data = starts[k];
    free_problem(&p);
    for (misalignment = 1; misalignment < 4; ++misalignment) {
      unsigned char *memory = malloc((MAX_INPUTS + MAX_OUTPUTS) * (MOST_BYTES + 4)), *at = memory + misalignment;
      make_small(&p, &cases[i], U8);
      for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
        segloss_tensor *t = k < MAX_INPUTS ? &p.inputs[k] : &p.outputs[k - MAX_INPUTS];
        size_t bytes;
        if (!t->data) continue;
        bytes = (size_t)count_of(t) * (t->type_bits / 8u);
        memcpy(at, t->data, bytes);
        free(t->data);
        t->data = at;
        at += (bytes + 3) / 4 * 4;
      }
      sprintf(what, "addresses of 4n + %d", misalignment);
      same_as_plain(&p, what);
      free(p.statistics);
      free(memory);
    }
  }
}

/* ---- Overlap ---- */

/* All tensors in one slab, inputs and outputs each with a free segment on both sides. */
enum { SEGMENT = MOST_BYTES, SLAB = (2 * (MAX_INPUTS + MAX_OUTPUTS) + 1) * SEGMENT };

static void make_in_slab(problem *p, const test_case *c, unsigned char *slab) {
  int k;
  make_small(p, c, U8);
  memset(slab, UNTOUCHED, SLAB);
  for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
    segloss_tensor *t = k < MAX_INPUTS ? &p->inputs[k] : &p->outputs[k - MAX_INPUTS];
    unsigned char *at = slab + (2 * k + 1) * SEGMENT;
    if (!t->data) continue;
    memcpy(at, t->data, (size_t)count_of(t) * (t->type_bits / 8u));
    free(t->data);
    t->data = at;
  }
}

static void overlaps(void) {
  static unsigned char slab[SLAB];
  int i, o, k, s;
  for (i = 0; i < case_count; ++i) {
    problem p;
    const entry *e = cases[i].entry;
    for (o = 0; o < MAX_OUTPUTS; ++o) {
      if (!has_output(&cases[i], o)) continue;
      for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
        const segloss_tensor *other;
        int bytes, own_bytes, shifts[7];
        segloss_tensor moved;
        make_in_slab(&p, &cases[i], slab);
        prepare(&p);
        other = k < MAX_INPUTS ? p.a.inputs[k] : k - MAX_INPUTS == o ? NULL : p.a.outputs[k - MAX_INPUTS];
        if (!other) {
          free(p.statistics);
          continue;
        }
        bytes = (int)count_of(other) * (other->type_bits / 8);
        own_bytes = (int)count_of(&p.outputs[o]) * 4;
        shifts[0] = 1 - own_bytes, shifts[1] = -4, shifts[2] = -1, shifts[3] = 0, shifts[4] = 1, shifts[5] = 4;
        shifts[6] = bytes - 1;
        moved = p.outputs[o];
        p.a.outputs[o] = &moved;
        for (s = 0; s < 7; ++s) {
          char what[80];
          const char *to_blame = e->outputs[k - MAX_INPUTS > o ? k - MAX_INPUTS : o]; /* the later of two outputs */
          sprintf(what, "%d bytes into %s", shifts[s], k < MAX_INPUTS ? e->inputs[k] : e->outputs[k - MAX_INPUTS]);
          if (k < e->predictions && k == o && shifts[s] == 0) continue; /* in place: in both_forms.c */
          if (shifts[s] <= -own_bytes || shifts[s] >= bytes) continue;
          moved.data = (unsigned char *)other->data + shifts[s];
          refused_by_all(&p, SEGLOSS_OVERLAP, to_blame, what, 1);
        }
        /* Side by side is apart. */
        moved.data = (unsigned char *)other->data - own_bytes;
        accepted(&p, e->run, "just before");
        moved.data = (unsigned char *)other->data + bytes;
        accepted(&p, e->run, "just behind");
        free(p.statistics);
      }
      /* With itself, and with its prediction turned round. */
      make_in_slab(&p, &cases[i], slab);
      prepare(&p);
      for (k = 0; k < 6; ++k) {
        segloss_tensor own = p.outputs[o];
        int r = own.rank;
        if (r < 1 || (k % 2 == 0 && own.shape[r - 1] == 1)) continue;
        if ((r < 2 && (k == 2 || k == 4)) || (k == 5 && o >= e->predictions)) continue;
        if (k == 5) own = p.inputs[o], turn_round(&own, r);
        else spell_strides(&own);
        if (k == 0) own.strides[r - 1] = 0;
        if (k == 1) own.strides[0] = 0;
        if (k == 2) own.strides[r - 2] = own.shape[r - 1] - 1;
        if (k == 3) memset(own.strides, 0, sizeof own.strides);
        if (k == 4) own.strides[r - 2] = -own.strides[r - 1];
        p.a.outputs[o] = &own;
        refused_by_all(&p, SEGLOSS_OVERLAP, e->outputs[o], k < 5 ? "places shared" : "the prediction backwards", 1);
      }
      free(p.statistics);
    }
  }
}

/* Channels of one buffer, interleaved or not; rows in the gaps between rows; unit extents in place. */
/* Whether every tensor is N x H x W, of any type. */
static int is_all_maps(const test_case *c) {
  int k;
  for (k = 0; k < input_count(c); ++k)
    if (c->channels || is_one_of("lkMUWVcbsaBS", c->roles[k]) || (c->roles[k] == 'i' &&
                                                                  c->entry->items != ELEMENTS)) return 0;
  return 1;
}

static void neighbours(void) {
  enum { CHANNELS = MAX_INPUTS + MAX_OUTPUTS };
  int i, k, layout;
  for (i = 0; i < case_count; ++i) {
    problem p, plain;
    for (layout = 0; layout < 4 && is_all_maps(&cases[i]); ++layout) {
      static const char *const what[] = {"N x C x H x W", "N x H x W x C", "N x H x C x W", "C x N x H x W"};
      float *memory = malloc(sizeof(float) * CHANNELS * N * H * W);
      segloss_tensor views[CHANNELS];
      int64_t e;
      make_problem(&plain, &cases[i], F32, F32, N, H, W, 0, 3, place_by_malloc, NULL);
      p = plain;
      p.a.parts = plain.a.parts ? &p.parts : NULL;
      p.a.statistics = p.statistics;
      p.a.error = &p.error;
      for (k = 0; k < CHANNELS; ++k) {
        const segloss_tensor *from = k < MAX_INPUTS ? plain.a.inputs[k] : plain.a.outputs[k - MAX_INPUTS];
        segloss_tensor *v = &views[k];
        if (!from) continue;
        *v = *from;
        v->flags = 0;
        v->data = memory + k * (layout == 0 ? H * W : layout == 1 ? 1 : layout == 2 ? W : N * H * W);
        v->strides[0] = layout == 3 ? H * W : CHANNELS * H * W;
        v->strides[1] = layout == 1 || layout == 2 ? CHANNELS * W : W;
        v->strides[2] = layout == 1 ? CHANNELS : 1;
        for (e = 0; e < N * H * W; ++e) memcpy(element(v, e), element(from, e), 4);
        if (k < MAX_INPUTS) p.a.inputs[k] = v;
        else p.a.outputs[k - MAX_INPUTS] = v;
      }
      accepted(&plain, cases[i].entry->run, "apart");
      accepted(&p, cases[i].entry->run, what[layout]);
      CHECK(same_parts(&p, &plain), "%s, %s: other parts", cases[i].name, what[layout]);
      for (k = 0; k < MAX_OUTPUTS; ++k)
        if (p.a.outputs[k])
          CHECK(same_elements(p.a.outputs[k], &plain.outputs[k]), "%s, %s: another %s", cases[i].name, what[layout],
                cases[i].entry->outputs[k]);
      free(memory);
      free_problem(&plain);
    }
    /* In place, where the two descriptors differ in the stride of a unit extent alone. */
    if (cases[i].entry->predictions) {
      segloss_tensor grads[MAX_OUTPUTS];
      make_problem(&p, &cases[i], F32, F32, 1, H, W, 0, 3, place_by_malloc, NULL);
      make_problem(&plain, &cases[i], F32, F32, 1, H, W, 0, 3, place_by_malloc, NULL);
      accepted(&plain, cases[i].entry->run, "apart");
      for (k = 0; k < MAX_OUTPUTS; ++k) {
        if (!p.a.outputs[k] || k >= cases[i].entry->predictions) continue;
        grads[k] = p.inputs[k];
        spell_strides(&grads[k]);
        if (grads[k].shape[0] == 1) grads[k].strides[0] = 12345;
        p.a.outputs[k] = &grads[k];
      }
      accepted(&p, cases[i].entry->run, "in place, unit extents");
      for (k = 0; k < cases[i].entry->predictions; ++k)
        if (p.a.outputs[k])
          CHECK(same_elements(&grads[k], &plain.outputs[k]), "%s, in place: another %s", cases[i].name,
                cases[i].entry->outputs[k]);
      free_problem(&p);
      free_problem(&plain);
    }
  }
  {
    /* A real picture's size: the answer must still be exact. */
    segloss_tensor map[4];
    static const int64_t shape[3] = {8, 640, 640}, strides[3] = {640 * 640 * 7, 640 * 7, 7};
    float *memory = calloc((size_t)8 * 640 * 640 * 7, sizeof(float));
    segloss_mask_l1_parts parts = {sizeof parts, 0, 0, 0};
    segloss_error error;
    for (k = 0; k < 4; ++k)
      map[k] = segloss_from_dlpack(memory + k, SEGLOSS_DEVICE_CPU, 0, 3, SEGLOSS_TYPE_FLOAT, 32, 1, shape, strides, 0);
    CHECK(segloss_mask_l1(&map[0], &map[1], &map[2], NULL, 1, &parts, &map[3], NULL, &error) == SEGLOSS_OK,
          "seven channels of 8 x 640 x 640: %s", error.message);
    map[3].data = (char *)map[3].data + 2;
    CHECK(segloss_mask_l1(&map[0], &map[1], &map[2], NULL, 1, &parts, &map[3], NULL, &error) == SEGLOSS_OK,
          "between two channels: %s", error.message); /* channel 4 is free: half of 3 and half of 4 */
    map[3].data = (char *)(memory + 2) + 2;
    CHECK(segloss_mask_l1(&map[0], &map[1], &map[2], NULL, 1, &parts, &map[3], NULL, &error) == SEGLOSS_OVERLAP,
          "two bytes into a channel: %s", error.message);
    free(memory);
  }
}

/* Views drawn at random from one slab: refused if, and only if, an output's byte belongs to something else. */
static uint32_t drawn;
static int draw(int below) { return (int)(noise(11, drawn++) % (uint32_t)below); }

/* Nested strides in any order and direction, so that no two elements share a byte; or any strides at all. */
static segloss_tensor draw_view(unsigned char *slab, int type, const int64_t *shape, int is_output) {
  static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  const int *order = orders[draw(6)];
  segloss_tensor t = tensor_of(type, shape[0], shape[1], shape[2]);
  int64_t stride = 1 + draw(3), low = 0, high = 0;
  int i;
  t.flags = 0;
  for (i = 0; i < 3; ++i) {
    int d = order[i];
    t.strides[d] = is_output || draw(4) ? stride : draw(9);
    stride = stride * t.shape[d] + draw(3);
    if (draw(3) == 0) t.strides[d] *= -1;
    *(t.strides[d] < 0 ? &low : &high) += t.strides[d] * (t.shape[d] - 1);
  }
  (void)high;
  t.data = slab + draw(700) - low * (t.type_bits / 8);
  return t;
}

static void random_views(void) {
  enum { BYTES = 8192, DRAWS = 30000 };
  static unsigned char slab[BYTES], owner[BYTES];
  static float zeros[64];
  int turn, refusals = 0;
  for (turn = 0; turn < DRAWS; ++turn) {
    static const int label_types[] = {F32, U8, I64, F16};
    int64_t shape[3], e;
    segloss_tensor pred, gt, grad;
    segloss_error error;
    int32_t status;
    int i, shared = 0;
    for (i = 0; i < 3; ++i) shape[i] = 1 + draw(4);
    pred = tensor_of(F32, shape[0], shape[1], shape[2]);
    pred.data = zeros;
    gt = draw_view(slab, label_types[draw(4)], shape, 0);
    grad = draw_view(slab, F32, shape, 1);
    memset(owner, 0, sizeof owner);
    for (e = 0; e < count_of(&gt); ++e) memset(owner + (element(&gt, e) - slab), 1, gt.type_bits / 8);
    for (e = 0; e < count_of(&grad); ++e)
      for (i = 0; i < 4; ++i) shared |= owner[element(&grad, e) - slab + i];
    status = segloss_mask_l1(&pred, &gt, &pred, NULL, 1, NULL, &grad, NULL, &error);
    refusals += status != SEGLOSS_OK;
    CHECK(status == (shared ? SEGLOSS_OVERLAP : SEGLOSS_OK),
          "draw %d: %s, though they %s: shape %d %d %d, gt %d bits from %d by %d %d %d, grad from %d by %d %d %d", turn,
          segloss_status_name(status), shared ? "overlap" : "do not overlap", (int)shape[0], (int)shape[1],
              (int)shape[2],
          gt.type_bits, (int)((unsigned char *)gt.data - slab), (int)gt.strides[0], (int)gt.strides[1],
          (int)gt.strides[2], (int)((unsigned char *)grad.data - slab), (int)grad.strides[0], (int)grad.strides[1],
          (int)grad.strides[2]);
  }
  CHECK(refusals > DRAWS / 5 && refusals < DRAWS - DRAWS / 5, "%d refusals", refusals);
}

/* Elements as far apart as strides may reach, which nobody has: a refusal (grad and gt do overlap), and no overflow on
   the way to it. */
static void far_strides(void) {
  enum { FAR = 7 };
  static const int64_t far[FAR] = {INT64_MAX,      INT64_MAX / 8 + 1, INT64_MAX / 16, INT64_MAX / 16 - 1,
                                   INT64_MAX / 16 - 77, INT64_MAX / 32, 1};
  static double memory[64];
  static const int64_t shape[2] = {2, 1};
  int i, j, k, signs;
  for (i = 0; i < FAR; ++i)
    for (j = 0; j < FAR; ++j)
      for (k = 0; k < FAR; ++k)
        for (signs = 0; signs < 16; ++signs) {
          int64_t strides[3][2] = {{0, 0}, {0, 0}, {0, 0}};
          segloss_tensor pred, gt, grad;
          segloss_error error;
          int32_t status;
          strides[0][0] = signs & 1 ? -far[i] : far[i];
          strides[1][0] = signs & 2 ? -far[j] : far[j];
          strides[2][0] = signs & 4 ? -far[k] : far[k];
          pred = segloss_from_dlpack(signs & 8 ? memory : memory + 60, SEGLOSS_DEVICE_CPU, 0, 2, SEGLOSS_TYPE_FLOAT, 64,
                                     1, shape, strides[0], 0);
          gt = segloss_from_dlpack(memory + 30, SEGLOSS_DEVICE_CPU, 0, 2, SEGLOSS_TYPE_FLOAT, 64, 1, shape, strides[1],
                                   0);
          grad = segloss_from_dlpack(memory + 30, SEGLOSS_DEVICE_CPU, 0, 2, SEGLOSS_TYPE_FLOAT, 64, 1, shape,
                                     strides[2], 0);
          status = segloss_mask_l1(&pred, &gt, &gt, NULL, 1, NULL, &grad, NULL, &error);
          CHECK(status == SEGLOSS_LAYOUT || status == SEGLOSS_OVERLAP, "strides of %g, %g, %g elements: %s: %s",
                (double)strides[0][0], (double)strides[1][0], (double)strides[2][0], segloss_status_name(status),
                error.message);
        }
}

/* ---- Structs ---- */

static unsigned char *guarded_end; /* nothing may be read from here on */

/* A copy of a struct that ends where memory does. */
static void *at_the_end(const void *from, size_t bytes, size_t zeros) {
  unsigned char *at = guarded_end - bytes - zeros;
  memcpy(at, from, bytes);
  memset(at + bytes, 0, zeros);
  return at;
}

static void make_guarded_end(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  unsigned char *memory = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory + 2 * page, page, PROT_NONE)) abort();
  guarded_end = memory + 2 * page;
}

static void struct_sizes(void) {
  int i, k, which;
  make_guarded_end();
  for (i = 0; i < case_count; ++i) {
    const entry *e = cases[i].entry;
    problem p, plain;
    make_small(&p, &cases[i], U8);
    make_small(&plain, &cases[i], U8);
    prepare(&p);
    accepted(&plain, e->run, "plain");
    for (which = 0; which < 4; ++which) {
      segloss_execution execution = segloss_execution_default();
      const struct {
        const char *name;
        size_t size;
        const void *good, **place;
      } structs[] = {{"options", e->options_size, &p.options, &p.a.options},
                     {"execution", sizeof execution, &execution, (const void **)&p.a.execution},
                     {"parts", e->parts_size, &p.parts, (const void **)&p.a.parts},
                     {"classes", e->classes ? sizeof p.classes : 0, &p.classes,
                      (const void **)((char *)&p.options + e->classes)}};
      size_t size = structs[which].size;
      if (e == &CTPN && p.options.ctpn.variant == SEGLOSS_CTPN_PAPER) /* what NULL means there */
        execution.non_finite = SEGLOSS_SKIP_MASKED;
      const char *name = structs[which].name;
      const void *good = structs[which].good, **place = structs[which].place, *before = *place;
      if (!size) continue;
      for (k = 0; k < (int)size + 2; ++k) { /* all that are too short, and two that no struct has */
        uint32_t bad = k < (int)size ? (uint32_t)k : k == (int)size ? UINT32_MAX : 1u << 31;
        size_t there = bad < 4 || bad > size ? 4 : bad;
        void *copy = at_the_end(good, there, 0);
        memcpy(copy, &bad, 4);
        *place = copy;
        refused_by_all(&p, SEGLOSS_STRUCT_SIZE, name, "a size", which == 2);
        CHECK(which != 2 || is_marked((char *)copy + 4, there - 4), "%s: truncated parts were written", cases[i].name);
      }
      for (k = 1; k <= 64; k *= 2) { /* longer, with nothing in the tail */
        uint32_t longer = (uint32_t)size + (uint32_t)k;
        unsigned char *copy = at_the_end(good, size, (size_t)k);
        memcpy(copy, &longer, 4);
        if (which == 2) memset(copy + 4, UNTOUCHED, size - 4 + (size_t)k);
        *place = copy;
        fill_outputs(&p);
        accepted(&p, e->run, "a longer struct");
        if (which == 2) {
          CHECK(memcmp(copy, &longer, 4) == 0, "%s: struct_size of parts changed", cases[i].name);
          CHECK(is_marked(copy + size, (size_t)k), "%s: more than the known parts were written", cases[i].name);
          memcpy((char *)&p.parts + 4, copy + 4, size - 4);
        }
        CHECK(same_results(&p, &plain), "%s, longer %s: other results", cases[i].name, name);
        fill_outputs(&p);
        if (which == 2) continue;
        copy[size + (size_t)k - 1] = 1; /* asks for something unknown */
        refused_by_all(&p, SEGLOSS_STRUCT_SIZE, name, "an unknown option", 0);
      }
      *place = before;
    }
    /* Exactly what is described is read. */
    p.a.options = at_the_end(&p.options, e->options_size, 0);
    accepted(&p, e->run, "options at the end of memory");
    CHECK(same_results(&p, &plain), "%s: options at the end of memory", cases[i].name);
    free_problem(&p);
    free_problem(&plain);
  }
}

/* Every option with its kind: a number (of at least 0, above 0, or of 0 ... 1), a count, an odd one, a target to
   ignore, or a whole number of 0 ... last. */
enum { NUMBER = -1, COUNT = -2, NOT_NEGATIVE = -3, FRACTION = -4, IGNORABLE = -5, POSITIVE = -6, ODD = -7 };

typedef struct field {
  const entry *entry;
  size_t offset;
  const char *name;
  int last;
} field;

#define FIELD(ENTRY, loss, name, last) {&ENTRY, offsetof(segloss_##loss##_options, name), #name, last}

static const field fields[] = {
    FIELD(MASK_DICE, mask_dice, eps, NUMBER),
    FIELD(MASK_L1, mask_l1, eps, NUMBER),
    FIELD(BALANCE, balance, main_loss, SEGLOSS_MAIN_CROSS_ENTROPY),
    FIELD(BALANCE, balance, balance_loss, 1),
    FIELD(BALANCE, balance, bce_form, SEGLOSS_BCE_LOGITS),
    FIELD(BALANCE, balance, truncate_weights, 1),
    FIELD(BALANCE, balance, clean, 1),
    FIELD(BALANCE, balance, negative_ratio, NUMBER),
    FIELD(BALANCE, balance, eps, NUMBER),
    FIELD(BALANCE, balance, fallback_negative_num, COUNT),
    FIELD(BALANCE_MAP, balance, bce_form, SEGLOSS_BCE_LOGITS),
    FIELD(BALANCE_MAP_BACKWARD, balance, main_loss, SEGLOSS_MAIN_CROSS_ENTROPY),
    FIELD(DB, db, variant, SEGLOSS_DB_PAPER),
    FIELD(DB, db, balance_loss, 1),
    FIELD(DB, db, main_loss, SEGLOSS_MAIN_CROSS_ENTROPY),
    FIELD(DB, db, alpha, NUMBER),
    FIELD(DB, db, beta, NUMBER),
    FIELD(DB, db, negative_ratio, NUMBER),
    FIELD(DB, db, eps, NUMBER),
    FIELD(DB, db, step_k, NUMBER),
    FIELD(DB, db, fallback_negative_num, COUNT),
    FIELD(L1_BALANCE_CE, l1_balance_ce, eps, NUMBER),
    FIELD(L1_BALANCE_CE, l1_balance_ce, l1_scale, NUMBER),
    FIELD(L1_BALANCE_CE, l1_balance_ce, bce_scale, NUMBER),
    FIELD(L1_BALANCE_CE, l1_balance_ce, negative_ratio, NUMBER),
    FIELD(DB_STEP, db_step, k, NUMBER),
    FIELD(DB_STEP_BACKWARD, db_step, k, NUMBER),
    FIELD(CTPN, ctpn, variant, SEGLOSS_CTPN_PAPER),
    FIELD(CTPN, ctpn, sigma2, POSITIVE),
    FIELD(CTPN, ctpn, lambda1, NUMBER),
    FIELD(CTPN, ctpn, lambda2, NUMBER),
    FIELD(ACTIVE_CONTOUR, active_contour, variant, SEGLOSS_CONTOUR_ALIGNED),
    FIELD(ACTIVE_CONTOUR, active_contour, from_logits, 1),
    FIELD(ACTIVE_CONTOUR, active_contour, reserved, 0),
    FIELD(ACTIVE_CONTOUR, active_contour, weight, NUMBER),
    FIELD(ACTIVE_CONTOUR, active_contour, region_weight, NUMBER),
    FIELD(ACTIVE_CONTOUR, active_contour, c_in, NUMBER),
    FIELD(ACTIVE_CONTOUR, active_contour, c_out, NUMBER),
    FIELD(STRUCTURE, structure, variant, SEGLOSS_STRUCTURE_UACANET),
    FIELD(STRUCTURE, structure, count_include_pad, 1),
    FIELD(STRUCTURE, structure, reserved, 0),
    FIELD(STRUCTURE, structure, kernel_size, ODD),
    FIELD(STRUCTURE, structure, gain, NOT_NEGATIVE),
    FIELD(STRUCTURE, structure, smooth, NOT_NEGATIVE),
    FIELD(BOUNDARY, boundary, variant, SEGLOSS_BOUNDARY_PRESENT_CLASSES),
    FIELD(BOUNDARY, boundary, theta0, ODD),
    FIELD(BOUNDARY, boundary, theta, ODD),
    FIELD(BOUNDARY, boundary, from_probs, 1),
    FIELD(BOUNDARY, boundary, has_ignore_index, 1),
    FIELD(BOUNDARY, boundary, ignore_index, IGNORABLE),
    FIELD(DICE, dice, reserved, 0),
    FIELD(DICE, dice, smooth, NUMBER),
    FIELD(DICE_BCE, dice_bce, reserved, 0),
    FIELD(DICE_BCE, dice_bce, smooth, NUMBER),
    FIELD(IOU, iou, reserved, 0),
    FIELD(IOU, iou, smooth, NUMBER),
    FIELD(TVERSKY, tversky, reserved, 0),
    FIELD(TVERSKY, tversky, alpha, NUMBER),
    FIELD(TVERSKY, tversky, beta, NUMBER),
    FIELD(TVERSKY, tversky, smooth, NUMBER),
    FIELD(FOCAL_TVERSKY, focal_tversky, reserved, 0),
    FIELD(FOCAL_TVERSKY, focal_tversky, alpha, NUMBER),
    FIELD(FOCAL_TVERSKY, focal_tversky, beta, NUMBER),
    FIELD(FOCAL_TVERSKY, focal_tversky, gamma, NOT_NEGATIVE),
    FIELD(FOCAL_TVERSKY, focal_tversky, smooth, NUMBER),
    FIELD(BCE, bce, form, SEGLOSS_BCE_LOGITS),
    FIELD(FOCAL, focal, variant, SEGLOSS_FOCAL_PAPER),
    FIELD(FOCAL, focal, from_logits, 1),
    FIELD(FOCAL, focal, reserved, 0),
    FIELD(FOCAL, focal, alpha, NUMBER),
    FIELD(FOCAL, focal, gamma, NOT_NEGATIVE),
    FIELD(SMOOTH_L1, smooth_l1, reduction, SEGLOSS_SUM),
    FIELD(SMOOTH_L1, smooth_l1, beta, NOT_NEGATIVE),
    FIELD(CROSS_ENTROPY, cross_entropy, reduction, SEGLOSS_SUM),
    FIELD(CROSS_ENTROPY, cross_entropy, has_ignore_index, 1),
    FIELD(CROSS_ENTROPY, cross_entropy, reserved, 0),
    FIELD(CROSS_ENTROPY, cross_entropy, ignore_index, IGNORABLE),
    FIELD(CROSS_ENTROPY, cross_entropy, label_smoothing, FRACTION),
};

/* Of the struct that all losses with classes point to. */
static const field class_fields[] = {
    {NULL, offsetof(segloss_classes, activation), "activation", SEGLOSS_NO_ACTIVATION},
    {NULL, offsetof(segloss_classes, average), "average", SEGLOSS_MACRO},
    {NULL, offsetof(segloss_classes, per_sample), "per_sample", 1},
    {NULL, offsetof(segloss_classes, absent), "absent", SEGLOSS_ABSENT_ZERO},
    {NULL, offsetof(segloss_classes, reduction), "reduction", SEGLOSS_SUM},
    {NULL, offsetof(segloss_classes, has_ignore_index), "has_ignore_index", 1},
    {NULL, offsetof(segloss_classes, reserved), "reserved", 0},
    {NULL, offsetof(segloss_classes, ignore_index), "ignore_index", IGNORABLE},
};

/* Puts bad value 0, 1, 2 or 3 of its kind into a field. */
static void put_bad(void *structure, const field *f, int k) {
  char *at = (char *)structure + f->offset;
  if (f->last == COUNT || f->last == IGNORABLE || f->last == ODD) {
    static const int64_t sizes[4] = {0, -1, 2, INT64_MIN};
    static const int64_t counts[4] = {-1, INT64_MIN, -1000, INT32_MIN};
    static const int64_t labels[4] = {((int64_t)1 << 24) + 1, -((int64_t)1 << 24) - 1, INT64_MAX, INT64_MIN};
    memcpy(at, f->last == COUNT ? &counts[k] : f->last == ODD ? &sizes[k] : &labels[k], 8);
  } else if (f->last < 0) {
    double number = k == 0 ? NAN : k == 1 ? INFINITY : k == 2 ? -INFINITY : -NAN;
    if (k == 3 && f->last != NUMBER) number = f->last == POSITIVE ? 0 : -5e-324;
    if (k == 2 && f->last == FRACTION) number = 1.0000001;
    memcpy(at, &number, 8);
  } else {
    int32_t number = k == 0 ? -1 : k == 1 ? f->last + 1 : k == 2 ? INT32_MAX : INT32_MIN;
    memcpy(at, &number, 4);
  }
}

static void option_values(void) {
  static const double wild[] = {1e308, 5e-324, 0, -1, -1e308};
  size_t f;
  int i, k;
  for (i = 0; i < case_count; ++i) {
    problem p;
    options good;
    segloss_execution execution;
    make_small(&p, &cases[i], U8);
    prepare(&p);
    good = p.options;
    for (f = 0; f < sizeof fields / sizeof *fields; ++f) {
      char *at = (char *)&p.options + fields[f].offset;
      int last = fields[f].last;
      if (!is_of(cases[i].entry, fields[f].entry)) continue;
      if (last == IGNORABLE && ignored_by(&cases[i]) == INT64_MIN) continue; /* not read */
      for (k = 0; k < 4; ++k) {
        put_bad(&p.options, &fields[f], k);
        refused_by_all(&p, SEGLOSS_OPTION, fields[f].name, "a value", 0);
        p.options = good;
      }
      /* Finite: whatever comes out, it comes out. */
      for (k = 0; k < (last == NUMBER ? 5 : last == NOT_NEGATIVE ? 3 : last == POSITIVE ? 2 : 0); ++k) {
        memcpy(at, &wild[k], 8);
        accepted(&p, p.c->entry->run, fields[f].name);
        accepted_in_two(&p, fields[f].name);
        p.options = good;
      }
      if (last == COUNT || last == ODD) {
        int64_t most = INT64_MAX;
        memcpy(at, &most, 8);
        accepted(&p, p.c->entry->run, fields[f].name);
        p.options = good;
      }
      fill_outputs(&p);
    }
    for (f = 0; f < sizeof class_fields / sizeof *class_fields && p.c->entry->classes; ++f) {
      segloss_classes good_classes = p.classes;
      for (k = 0; k < 4; ++k) {
        if (class_fields[f].last == IGNORABLE) p.classes.has_ignore_index = 1; /* else it is not read */
        put_bad(&p.classes, &class_fields[f], k);
        refused_by_all(&p, SEGLOSS_OPTION, class_fields[f].name, "a value", 0);
        p.classes = good_classes;
      }
    }
    for (k = 0; k < 4; ++k) {
      execution = segloss_execution_default();
      p.a.execution = &execution;
      execution.threads = k == 0 ? -1 : k == 1 ? INT32_MIN : 0;
      execution.non_finite = k == 2 ? -1 : k == 3 ? SEGLOSS_SKIP_MASKED + 1 : 0;
      refused_by_all(&p, SEGLOSS_OPTION, k < 2 ? "threads" : "non_finite", "a value", 0);
    }
    execution = segloss_execution_default();
    execution.threads = INT32_MAX;
    accepted(&p, p.c->entry->run, "very many threads");
    p.a.execution = NULL;
    for (k = 0; k < 4; ++k) {
      p.a.grad_output = k == 0 ? NAN : k == 1 ? INFINITY : k == 2 ? -INFINITY : 1e308;
      accepted(&p, p.c->entry->run, "an upstream factor");
    }
    free_problem(&p);
  }
}

static int has_balance_options(const entry *e) {
  return e == &BALANCE || e == &BALANCE_MAP || e == &BALANCE_MAP_BACKWARD;
}

/* Arrays for classes: their lengths and what they hold. */
static void class_arrays(void) {
  static const int64_t lengths[] = {H - 1, H + 1, 0, -1, INT64_MIN, INT64_MAX, 65537};
  static const double numbers_[] = {NAN, INFINITY, -INFINITY};
  int i, k;
  for (i = 0; i < case_count; ++i) {
    problem p;
    double weights[H + 1];
    int64_t chosen[H + 1];
    const entry *e = cases[i].entry;
    int is_mean = e->items == ELEMENTS; /* takes no `classes` at all */
    const double **own = (const double **)((char *)&p.options + e->numbers);
    int64_t *own_length = (int64_t *)((char *)&p.options + e->numbers + sizeof *own);
    int is_logits = !is_of(e, &BCE) || cases[i].options.bce.form == SEGLOSS_BCE_LOGITS;
    const char *own_name = is_of(e, &BCE) ? "pos_weight" : "class_weight";
    make_small(&p, &cases[i], U8);
    prepare(&p);
    for (k = 0; k <= H; ++k) weights[k] = 1;
    if (e->classes) {
      segloss_classes good = p.classes;
      p.classes.class_weight = weights;
      for (k = 0; k < 7; ++k) {
        p.classes.class_weight_length = lengths[k];
        refused_by_all(&p, SEGLOSS_OPTION, "class_weight", "a length", 0);
      }
      p.classes.class_weight_length = H;
      for (k = 0; k < 3; ++k) {
        weights[k] = numbers_[k];
        refused_by_all(&p, SEGLOSS_OPTION, "class_weight", "a number", 0);
        weights[k] = 1;
      }
      p.classes.class_weight = NULL;
      refused_by_all(&p, SEGLOSS_NULL_POINTER, "class_weight", "NULL for numbers", 0);
      for (k = 3; k < 7; ++k) {
        p.classes.class_weight_length = lengths[k];
        refused_by_all(&p, SEGLOSS_OPTION, "class_weight", "a length without numbers", 0);
      }
      p.classes = good;
      p.classes.classes = chosen;
      for (k = 3; k < 7; ++k) {
        p.classes.classes_length = lengths[k];
        refused_by_all(&p, SEGLOSS_OPTION, "classes", "a length", 0);
      }
      for (k = 0; k <= H; ++k) chosen[k] = k % H;
      for (k = 0; k < 6; ++k) { /* one too many, one twice, outside */
        int is_long = k == 0;
        p.classes.classes_length = is_long ? H + 1 : 3;
        if (k > 0) chosen[1] = k == 1 ? 0 : k == 2 ? -1 : k == 3 ? H : k == 4 ? INT64_MAX : INT64_MIN;
        refused_by_all(&p, is_mean ? SEGLOSS_UNSUPPORTED : SEGLOSS_OPTION, "classes", "a class", 0);
      }
      p.classes.classes_length = 0; /* not NULL: none of them */
      refused_by_all(&p, is_mean ? SEGLOSS_UNSUPPORTED : SEGLOSS_OPTION, "classes", "nothing", 0);
      p.classes.classes = NULL, p.classes.classes_length = 1;
      refused_by_all(&p, SEGLOSS_NULL_POINTER, "classes", "NULL for classes", 0);
      p.classes = good;
    }
    if (e->numbers && is_logits) {
      *own = weights;
      for (k = 0; k < 7; ++k) {
        *own_length = lengths[k];
        if (is_of(e, &BCE) && lengths[k] == 0) continue; /* 1 */
        refused_by_all(&p, SEGLOSS_OPTION, own_name, "a length", 0);
      }
      *own_length = H;
      for (k = 0; k < 3; ++k) {
        weights[k] = numbers_[k];
        refused_by_all(&p, SEGLOSS_OPTION, own_name, "a number", 0);
        weights[k] = 1;
      }
      *own = NULL;
      refused_by_all(&p, SEGLOSS_NULL_POINTER, own_name, "NULL for numbers", 0);
    } else if (e->numbers) {
      *own = weights, *own_length = 1;
      refused_by_all(&p, SEGLOSS_UNSUPPORTED, own_name, "factors of logits", 0);
    }
    free_problem(&p);
  }
}

/* Labels outside the classes. */
static void labels(void) {
  static const int64_t outside[] = {H, -1, 254, 1 << 24, INT32_MAX, INT32_MIN, ((int64_t)1 << 32) + 1, INT64_MAX,
                                    INT64_MIN};
  static const int label_types[] = {U8, I32, I64};
  int i, t;
  size_t v;
  for (i = 0; i < case_count; ++i)
    for (t = 0; t < 3 && is_class_label(cases[i].roles[1]); ++t)
      for (v = 0; v < sizeof outside / sizeof *outside; ++v) {
        problem p;
        int64_t value = outside[v];
        int32_t narrow = (int32_t)value;
        int status;
        if (t < 2 && (t == 0 ? value < 0 || value > 255 : narrow != value)) continue;
        make_small(&p, &cases[i], label_types[t]);
        if (t == 2) memcpy(element(&p.inputs[1], N * W - 2), &value, 8);
        else put(element(&p.inputs[1], N * W - 2), label_types[t], (double)value);
        status = p.c->entry->run(&p.a);
        CHECK(status == SEGLOSS_OUT_OF_RANGE && names(p.error.message, p.c->entry->inputs[1]), "%s, label %g: %s: %s",
              cases[i].name,
              (double)value, segloss_status_name(status), p.error.message);
        if (p.c->entry->statistics) {
          status = p.c->entry->statistics(&p.a);
          CHECK(status == SEGLOSS_OUT_OF_RANGE, "%s, label %g: %s", cases[i].name, (double)value,
                segloss_status_name(status));
        }
        free_problem(&p);
      }
}

/* What a mean over elements has no use for. */
static void without_classes(problem *p, const char *name) {
  segloss_classes good = p->classes;
  int64_t first = 0;
  int k;
  for (k = 0; k < 5; ++k) {
    if (k == 0) p->classes.activation = SEGLOSS_SOFTMAX;
    if (k == 1) p->classes.average = SEGLOSS_MACRO;
    if (k == 2) p->classes.per_sample = 1;
    if (k == 3) p->classes.absent = SEGLOSS_ABSENT_SKIP;
    if (k == 4) p->classes.classes = &first, p->classes.classes_length = 1;
    refused_by_all(p, SEGLOSS_UNSUPPORTED, name, "an option of scores", 0);
    p->classes = good;
  }
}

/* Options that are good each by itself, and have no meaning together. */
static void combinations(void) {
  int i, main_loss;
  for (i = 0; i < case_count; ++i) {
    problem p;
    options o;
    const entry *e = cases[i].entry;
    make_small(&p, &cases[i], U8);
    prepare(&p);
    o = p.options;
    p.a.options = &o;
    if (e->classes && e->items == ELEMENTS) without_classes(&p, "classes");
    if (is_of(e, &DICE_BCE)) {
      p.classes.activation = SEGLOSS_SOFTMAX;
      refused_by_all(&p, SEGLOSS_UNSUPPORTED, "activation", "softmax of two-sided terms", 0);
    }
    if (e == &FOCAL && o.focal.variant == SEGLOSS_FOCAL_PUBLISHED) {
      problem items = p;
      p.classes.reduction = SEGLOSS_SUM;
      refused_by_all(&p, SEGLOSS_UNSUPPORTED, "reduction", "a sum of one factor", 0);
      p.classes.reduction = SEGLOSS_MEAN;
      p.a.parts = NULL; /* the fourth function, which this variant lacks */
      items.a.inputs[4] = NULL, items.a.outputs[1] = NULL;
      CHECK(FOCAL_ITEMS.run(&items.a) == SEGLOSS_UNSUPPORTED && names(p.error.message, "reduction"), "%s: items: %s",
            p.c->name, p.error.message);
    }
    for (main_loss = SEGLOSS_MAIN_EUCLIDEAN; main_loss <= SEGLOSS_MAIN_CROSS_ENTROPY; ++main_loss) {
      if (e == &DB) o.db.main_loss = main_loss;
      else if (has_balance_options(e)) o.balance.main_loss = main_loss;
      else continue;
      refused_by_all(&p, SEGLOSS_UNSUPPORTED, "main_loss", "one that never worked", 0);
    }
    o = cases[i].options;
    if (e == &DB && o.db.main_loss == SEGLOSS_MAIN_BCE) {
      o.db.balance_loss = 0;
      refused_by_all(&p, SEGLOSS_UNSUPPORTED, "balance_loss", "a map among numbers", 0);
      o = cases[i].options;
    }
    if (e == &DB && o.db.variant != SEGLOSS_DB_PUBLISHED) {
      o.db.main_loss = SEGLOSS_MAIN_DICE;
      refused_by_all(&p, SEGLOSS_UNSUPPORTED, "main_loss", "another than the variant's", 0);
    }
    if (e == &BALANCE && o.balance.main_loss == SEGLOSS_MAIN_BCE) {
      o.balance.balance_loss = 0;
      refused_by_all(&p, SEGLOSS_UNSUPPORTED, "balance_loss", "a map for a number", 0);
    }
    if (e == &BALANCE_MAP || e == &BALANCE_MAP_BACKWARD) {
      o.balance.main_loss = SEGLOSS_MAIN_DICE;
      refused_by_all(&p, SEGLOSS_UNSUPPORTED, "main_loss", "a number for a map", 0);
    }
    free_problem(&p);
  }
}

/* ---- Statistics ---- */

static void statistics(void) {
  static const double wild[] = {NAN, INFINITY, -INFINITY, 1e308, -1e308, -1, 0, 1, 2, 1e18, 5e-324};
  int i, k;
  size_t v;
  for (i = 0; i < case_count; ++i) {
    problem p;
    double good[MAX_STATISTICS];
    int n;
    int64_t lengths[6];
    if (!cases[i].entry->statistics) continue;
    make_small(&p, &cases[i], U8);
    prepare(&p);
    n = p.length;
    lengths[0] = 0, lengths[1] = -1, lengths[2] = n - 1, lengths[3] = n + 1, lengths[4] = INT64_MAX;
    lengths[5] = INT64_MIN;
    memcpy(good, p.statistics, (size_t)n * sizeof *good);
    for (k = 0; k < 6; ++k) {
      p.a.length = lengths[k];
      refused(&p, cases[i].entry->statistics, SEGLOSS_STATISTICS, "statistics", "a length");
      refused(&p, cases[i].entry->finish, SEGLOSS_STATISTICS, "statistics", "a length");
    }
    p.a.length = n;
    /* Numbers that no batch has: a result or a refusal, not a crash. */
    for (k = 0; k < n + 1; ++k)
      for (v = 0; v < sizeof wild / sizeof *wild; ++v) {
        int32_t status;
        int j;
        for (j = 0; j < n; ++j) p.statistics[j] = j == k || k == n ? wild[v] : good[j];
        status = cases[i].entry->finish(&p.a);
        CHECK(status == SEGLOSS_OK || status == SEGLOSS_STATISTICS, "%s: %s", cases[i].name, p.error.message);
      }
    free_problem(&p);
  }
}

/* ---- Values ---- */

static void values(void) {
  static const double outside[] = {-1e-30, 1.0000001, 2, -1, NAN, INFINITY, -INFINITY};
  static const int types_[] = {F32, F64};
  int i, k, t;
  size_t v;
  for (i = 0; i < case_count; ++i)
    for (t = 0; t < 2; ++t)
      for (k = 0; k < input_count(&cases[i]); ++k)
        for (v = 0; v < sizeof outside / sizeof *outside; ++v) {
          const entry *e = cases[i].entry;
          const options *o = &cases[i].options;
          char role = cases[i].roles[k];
          int is_bce = e == &L1_BALANCE_CE || (e == &DB && o->db.main_loss == SEGLOSS_MAIN_BCE) ||
                       (has_balance_options(e) && o->balance.main_loss == SEGLOSS_MAIN_BCE &&
                        o->balance.bce_form != SEGLOSS_BCE_LOGITS);
          int is_torch = is_bce && (e == &L1_BALANCE_CE || (e == &DB && o->db.variant != SEGLOSS_DB_PUBLISHED) ||
                                    (has_balance_options(e) && o->balance.bce_form == SEGLOSS_BCE_TORCH));
          int is_probability = (is_bce && role == 'p' && k == 0) || (is_torch && role == 'g') ||
                               (e == &DB && o->db.variant == SEGLOSS_DB_PAPER && o->db.step_k == 0 && k == 2) ||
                               (cases[i].bounded >> k & 1);
          int is_read = !(e == &DB && o->db.variant == SEGLOSS_DB_PAPER && o->db.step_k != 0 && k == 2);
          segloss_execution execution = segloss_execution_default();
          problem p;
          int64_t last;
          int32_t status, want = is_probability ? SEGLOSS_OUT_OF_RANGE : SEGLOSS_OK;
          if (is_absent(&cases[i], k) || is_class_label(role)) continue; /* labels: below */
          if (role == 'a') want = outside[v] == -1 ? SEGLOSS_OK : SEGLOSS_OUT_OF_RANGE;
          if (role == 'a') is_probability = 1; /* NaN is outside as well */
          make_problem(&p, &cases[i], types_[t], types_[t], N, H, W, 0, 3, place_by_malloc, NULL);
          last = count_of(&p.inputs[k]) - (count_of(&p.inputs[k]) > 1 ? 2 : 1);
          if (role == 'B' && cases[i].anchors == HEADS) ++last; /* dh; dw is not read */
          put(element(&p.inputs[k], last), types_[t], outside[v]);
          status = e->run(&p.a);
          CHECK(status == want, "%s, %s = %g: %s", cases[i].name, e->inputs[k], outside[v],
                segloss_status_name(status));
          CHECK(status == SEGLOSS_OK || names(p.error.message, e->inputs[k]), "%s: %s", cases[i].name, p.error.message);
          CHECK(status == SEGLOSS_OK || role != 'p' || strstr(p.error.message, ", 4, 5)"), "%s: %s", cases[i].name,
                p.error.message);
          p.a.execution = &execution;
          execution.non_finite = SEGLOSS_REFUSE;
          if (is_read && !is_probability && !isfinite(outside[v])) want = SEGLOSS_NON_FINITE;
          status = e->run(&p.a);
          CHECK(status == want, "%s, %s = %g, refused: %s", cases[i].name, e->inputs[k], outside[v],
                segloss_status_name(status));
          CHECK(status == SEGLOSS_OK || names(p.error.message, e->inputs[k]), "%s: %s", cases[i].name, p.error.message);
          free_problem(&p);
        }
}

/* Under SKIP_MASKED a masked element may hold anything: the result is that of a 0 there. */
static void masked_values(void) {
  int i, k, v, t;
  for (i = 0; i < case_count; ++i)
    for (t = 0; t < 4; ++t)
      for (v = 0; v < 3; ++v) {
        static const int types_[] = {F32, F64, F16, BF16};
        static const unsigned char all_ones[8] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
        segloss_execution execution = segloss_execution_default();
        problem p, plain;
        const char *roles = cases[i].roles;
        if (!strpbrk(roles, "mMU")) continue;
        make_problem(&p, &cases[i], types_[t], U8, N, H, W, 0, 3, place_by_malloc, NULL);
        make_problem(&plain, &cases[i], types_[t], U8, N, H, W, 0, 3, place_by_malloc, NULL);
        for (k = 0; k < input_count(&cases[i]); ++k) {
          problem *of[2];
          int j, h;
          of[0] = &p, of[1] = &plain;
          if (roles[k] == 'i' && p.c->entry->items == SCORES) continue;
          for (j = 0; j < 2 && p.a.inputs[k]; ++j)
            for (h = 0; h < count_of(&p.inputs[k]) / (N * W); ++h) { /* one position, in every class */
              unsigned char *at = element(&of[j]->inputs[k], (count_of(&p.inputs[k]) / W / N + h) * W + 3);
              if (is_mask(roles[k]) || j == 1) memset(at, 0, size_of(p.types[k]));
              else if (v == 0) memcpy(at, all_ones, size_of(p.types[k])); /* NaN */
              else put(at, p.types[k], v == 1 ? 2.0 : -0.5);
            }
        }
        execution.non_finite = SEGLOSS_SKIP_MASKED;
        p.a.execution = &execution;
        plain.a.execution = &execution;
        accepted(&plain, cases[i].entry->run, "masked zeros");
        accepted(&p, cases[i].entry->run, "masked anything");
        CHECK(same_results(&p, &plain), "%s, %s: masked elements count", cases[i].name, types[types_[t]].name);
        free_problem(&p);
        free_problem(&plain);
      }
}

/* Elements with the target to ignore may hold anything as well, under any policy. */
static void ignored_values(void) {
  int i, k, v, t, h;
  for (i = 0; i < case_count; ++i)
    for (t = 0; t < 4 && ignored_by(&cases[i]) == IGNORED; ++t)
      for (v = 0; v < 3; ++v) {
        static const int types_[] = {F32, F64, F16, BF16};
        static const int policies[] = {SEGLOSS_PROPAGATE, SEGLOSS_SKIP_MASKED, SEGLOSS_REFUSE};
        segloss_execution execution = segloss_execution_default();
        problem p, plain;
        make_problem(&p, &cases[i], types_[t], types_[t], N, H, W, 0, 3, place_by_malloc, NULL);
        make_problem(&plain, &cases[i], types_[t], types_[t], N, H, W, 0, 3, place_by_malloc, NULL);
        for (h = 0; h < count_of(&p.inputs[1]) / (N * W); ++h) {
          int64_t at = (count_of(&p.inputs[1]) / W / N + h) * W + 3;
          put(element(&p.inputs[1], at), p.types[1], IGNORED);
          put(element(&plain.inputs[1], at), p.types[1], IGNORED);
        }
        for (k = 0; k < input_count(p.c); ++k) { /* prediction and weights there, in every class */
          if (!is_prediction(p.c->roles[k]) && !is_one_of("wWV", p.c->roles[k])) continue;
          for (h = 0; h < count_of(&p.inputs[k]) / (N * W); ++h) {
            int64_t index = (count_of(&p.inputs[k]) / W / N + h) * W + 3;
            unsigned char *at = element(&p.inputs[k], index);
            if (v == 0) memset(at, 0xFF, size_of(types_[t])); /* NaN */
            else put(at, types_[t], v == 1 ? 2.0 : -0.5);
            memset(element(&plain.inputs[k], index), 0, size_of(types_[t]));
          }
        }
        for (k = 0; k < 3; ++k) {
          execution.non_finite = policies[k];
          if (policies[k] == SEGLOSS_REFUSE && v == 0 && strpbrk(p.c->roles,
                                                                 "wWV")) continue; /* weights are looked at */
          p.a.execution = plain.a.execution = &execution;
          fill_outputs(&p), fill_outputs(&plain);
          accepted(&plain, cases[i].entry->run, "ignored zeros");
          accepted(&p, cases[i].entry->run, "ignored anything");
          CHECK(same_results(&p, &plain), "%s, %s: ignored elements count", cases[i].name, types[types_[t]].name);
        }
        free_problem(&p);
        free_problem(&plain);
      }
}

/* ---- Sizes ---- */

static void empty_tensors(void) {
  static const int64_t shapes[][3] = {{0, 5, 7}, {2, 0, 7}, {2, 5, 0}, {0, 0, 0}};
  size_t s;
  int i, k, is_dense;
  for (i = 0; i < case_count; ++i)
    for (s = 0; s < 4; ++s)
      for (is_dense = 0; is_dense < 2; ++is_dense) {
        problem p;
        const entry *e = cases[i].entry;
        make_problem(&p, &cases[i], F32, U8, shapes[s][0], shapes[s][1], shapes[s][2], 0, 3, place_by_malloc, NULL);
        for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
          segloss_tensor *t = k < MAX_INPUTS ? &p.inputs[k] : &p.outputs[k - MAX_INPUTS];
          if (!t->data || count_of(t) > 0) continue;
          free(t->data);
          t->data = NULL;
          if (!is_dense) t->flags = 0, t->strides[0] = INT64_MIN, t->strides[1] = 1, t->strides[2] = INT64_MAX;
          if (!is_dense && t->shape[0] > 1) t->strides[0] = 0;
          if (!is_dense && t->shape[2] > 1) t->strides[2] = 0;
        }
        if (shapes[s][1] == 0 && needs_classes(&cases[i])) {
          int32_t status = e->run(&p.a);
          CHECK(status == SEGLOSS_SHAPE, "%s, no classes: %s %s", cases[i].name, segloss_status_name(status),
                p.error.message);
          free_problem(&p);
          continue;
        }
        accepted(&p, e->run, "nothing");
        accepted_in_two(&p, "nothing, in two");
        if (e->parts_size) {
          int dice = e == &MASK_DICE || strstr(cases[i].name, "OHEM") || strstr(cases[i].name, "Dice, not balanced") ||
                     (e == &DB && cases[i].options.db.variant != SEGLOSS_DB_PAPER) || e == &L1_BALANCE_CE;
          double want = dice ? 1 : 0;
          if (e == &DB && strstr(cases[i].name, "OHEM")) want = 5 + 1; /* an OHEM Dice of nothing is 1, times alpha */
          if (strchr(cases[i].roles, '-') && e->predictions == 3) want = 0;
          if (e == &BOUNDARY && cases[i].options.boundary.variant == SEGLOSS_BOUNDARY_PUBLISHED)
            want = shapes[s][0] > 0; /* classes that are not there cost 1 */
          CHECK(p.parts.numbers[1] == want, "%s of nothing is %g, not %g", cases[i].name, p.parts.numbers[1], want);
        }
        free_problem(&p);
      }
}

static void ranks(void) {
  int i, rank, k;
  for (i = 0; i < case_count; ++i) {
    const entry *e = cases[i].entry;
    problem p, plain;
    if (e == &DB || e == &L1_BALANCE_CE || e == &CTPN || strstr(cases[i].name, "OHEM") || e->items || is_window(e))
      continue;
    for (rank = 0; rank <= SEGLOSS_MAX_RANK; ++rank) {
      int64_t count = rank ? N * H * W : 1;
      make_problem(&p, &cases[i], F32, U8, 1, 1, count, 0, 3, place_by_malloc, NULL);
      make_problem(&plain, &cases[i], F32, U8, 1, 1, count, 0, 3, place_by_malloc, NULL);
      for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
        segloss_tensor *t = k < MAX_INPUTS ? &p.inputs[k] : &p.outputs[k - MAX_INPUTS];
        int d;
        t->rank = rank;
        for (d = 0; d < SEGLOSS_MAX_RANK; ++d) t->shape[d] = 1;
        if (rank == 1) t->shape[0] = N * H * W;
        if (rank == 2) t->shape[0] = N * H, t->shape[1] = W;
        if (rank > 2) t->shape[0] = N, t->shape[rank - 2] = H, t->shape[rank - 1] = W;
      }
      accepted(&p, e->run, "a rank");
      accepted(&plain, e->run, "flat");
      CHECK(same_results(&p, &plain), "%s, rank %d: not what the flat one gives", cases[i].name, rank);
      free_problem(&p);
      free_problem(&plain);
    }
  }
}

/* Classes and positions: any number of dimensions behind the classes, or none. */
static void ranks_of_classes(void) {
  int i, rank, k, d;
  for (i = 0; i < case_count; ++i)
    for (rank = 2; rank <= SEGLOSS_MAX_RANK && cases[i].entry->items && !is_window(cases[i].entry); ++rank) {
      problem p, plain;
      int64_t w = rank == 2 ? 1 : W;
      make_problem(&p, &cases[i], F32, U8, N, H, w, 0, 3, place_by_malloc, NULL);
      make_problem(&plain, &cases[i], F32, U8, N, H, w, 0, 3, place_by_malloc, NULL);
      for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
        segloss_tensor *t = k < MAX_INPUTS ? &p.inputs[k] : &p.outputs[k - MAX_INPUTS];
        char role = k >= MAX_INPUTS ? has_output(p.c, k - MAX_INPUTS) ? output_role(p.c, k - MAX_INPUTS) : '-'
                    : k < input_count(p.c) ? p.c->roles[k] : '-';
        if (role == '-' || (role == 'i' && p.c->entry->items == SCORES)) continue;
        t->rank += rank - 3;
        for (d = t->rank - 1; d >= 0; --d) t->shape[d] = d >= t->rank - 1 && rank > 2 ? w : d >= 2 ? 1 : t->shape[d];
        if (is_one_of("kUV", role) || (role == 'i' && p.c->entry->items == POSITIONS))
          for (d = 1; d < t->rank - 1; ++d) t->shape[d] = 1;
      }
      accepted(&p, cases[i].entry->run, "a rank");
      accepted(&plain, cases[i].entry->run, "rank 3");
      CHECK(same_results(&p, &plain), "%s, rank %d: not what rank 3 gives", cases[i].name, rank);
      free_problem(&p);
      free_problem(&plain);
    }
}

/* Runs p without outputs on inputs of another shape, all of whose elements are in one place. */
static int32_t run_broadcast(problem *p, int64_t n, int64_t h, int64_t w) {
  segloss_tensor inputs[MAX_INPUTS];
  int k;
  for (k = 0; k < input_count(p->c); ++k) {
    int64_t shape[SEGLOSS_MAX_RANK], strides[SEGLOSS_MAX_RANK] = {0};
    const segloss_tensor *t = &p->inputs[k];
    int rank = shape_of(p->c, p->c->roles[k], n, h, w, shape);
    if (!p->a.inputs[k]) continue;
    inputs[k] = segloss_from_dlpack(t->data, SEGLOSS_DEVICE_CPU, 0, rank, t->type_code, t->type_bits, 1, shape,
                                    strides, 0);
    p->a.inputs[k] = &inputs[k];
  }
  for (k = 0; k < MAX_OUTPUTS; ++k) p->a.outputs[k] = NULL;
  fill_outputs(p);
  return p->c->entry->run(&p->a);
}

/* Very many samples, classes or positions in one place: a status, in a time that a caller waits for. */
static void extremes(void) {
  static const int64_t shapes[][3] = {{(int64_t)1 << 25, H, (int64_t)1 << 25}, {(int64_t)1 << 40, H, 1},
                                      {1, H, (int64_t)1 << 40}, {(int64_t)1 << 55, H, 0}, {(int64_t)1 << 55, 1, 0},
                                      {0, H, (int64_t)1 << 55}, {1, (int64_t)1 << 20, (int64_t)1 << 36},
                                      {1, (int64_t)1 << 36, (int64_t)1 << 20}, {1, 70000, 3}, {1, 65536, 1}};
  int i;
  size_t s;
  struct rlimit limit;
  CHECK(segloss_instruction_set(NULL) != NULL, "loaded");
  limit.rlim_cur = limit.rlim_max = (rlim_t)4 << 30;
  setrlimit(RLIMIT_AS, &limit);
  for (i = 0; i < case_count; ++i)
    for (s = 0; s < sizeof shapes / sizeof *shapes && (cases[i].entry->items || is_window(cases[i].entry)); ++s) {
      const int64_t *x = shapes[s];
      problem p;
      int32_t status;
      int is_wide = x[1] > 1 << 16 && tells_classes(&cases[i]);
      int has_arrays = cases[i].classes.class_weight_length || cases[i].numbers == ONE_A_CLASS;
      if (x[1] > H && !is_wide && (has_arrays || !cases[i].entry->items_entry)) continue; /* no arrays that fit; slow */
      make_problem(&p, &cases[i], F32, I64, 1, x[1] < H ? x[1] : H, 1, 0, 3, place_by_malloc, NULL);
      if (is_of(p.c->entry, &STRUCTURE)) p.options.structure.kernel_size = INT64_MAX;
      if (is_of(p.c->entry, &BOUNDARY)) p.options.boundary.theta = p.options.boundary.theta0 = INT64_MAX;
      status = run_broadcast(&p, x[0], x[1], x[2]);
      CHECK(status == SEGLOSS_OK || status == SEGLOSS_OUT_OF_MEMORY || (is_wide && status == SEGLOSS_UNSUPPORTED),
            "%s, shape %d: %s: %s", cases[i].name, (int)s, segloss_status_name(status), p.error.message);
      CHECK(!is_wide || status == SEGLOSS_UNSUPPORTED, "%s: %s", cases[i].name, segloss_status_name(status));
      if (s == 0 && p.c->entry->items_entry)
        CHECK(status == SEGLOSS_OUT_OF_MEMORY, "%s: %s", cases[i].name, segloss_status_name(status));
      if (status) CHECK(is_marked((char *)&p.parts + 4, sizeof p.parts - 4), "%s: parts were written", cases[i].name);
      free_problem(&p);
    }
}

/* 2^50 elements in one place need more memory for their sums than a process gets here. */
static void out_of_memory(void) {
  static float one = 0.5f;
  static const int64_t shape[2] = {(int64_t)1 << 25, (int64_t)1 << 25}, strides[2] = {0, 0};
  struct rlimit limit;
  segloss_tensor t = segloss_from_dlpack(&one, 1, 0, 2, SEGLOSS_TYPE_FLOAT, 32, 1, shape, strides, 0);
  segloss_mask_l1_parts parts;
  segloss_error error;
  int32_t status;
  CHECK(segloss_instruction_set(NULL) != NULL, "loaded");
  limit.rlim_cur = limit.rlim_max = (rlim_t)4 << 30;
  setrlimit(RLIMIT_AS, &limit);
  memset(&parts, UNTOUCHED, sizeof parts);
  parts.struct_size = sizeof parts;
  status = segloss_mask_l1(&t, &t, &t, NULL, 1, &parts, NULL, NULL, &error);
  CHECK(status == SEGLOSS_OUT_OF_MEMORY, "%s: %s", segloss_status_name(status), error.message);
  CHECK(is_marked((char *)&parts + 4, sizeof parts - 4), "parts were written");
}

/* Lists of predictions: their number, and whichever of them is bad. */
static void lists(void) {
  static const int32_t counts[] = {0, -1, SEGLOSS_STRUCTURE_LEVELS + 1, INT32_MAX, INT32_MIN};
  enum { LEVELS = 3 };
  int i, k, j, way;
  for (i = 0; i < case_count; ++i) {
    problem p;
    segloss_tensor preds[LEVELS], grads[LEVELS];
    unsigned char *memory;
    double numbers_[LEVELS * SEGLOSS_STRUCTURE_LEVEL_PARTS];
    size_t bytes;
    int32_t status;
    const char *what;
    if (cases[i].entry != &STRUCTURE) continue;
    make_small(&p, &cases[i], U8);
    bytes = (size_t)count_of(&p.outputs[0]) * 4;
    memory = malloc(LEVELS * bytes);
    memset(memory, UNTOUCHED, LEVELS * bytes);
    memset(numbers_, UNTOUCHED, sizeof numbers_);
    for (k = 0; k < LEVELS; ++k) preds[k] = p.inputs[0], grads[k] = p.outputs[0],
        grads[k].data = memory + (size_t)k * bytes;
#define STRUCTURE_CALL(preds, n, grads)                                                                                \
  segloss_structure(preds, n, &p.inputs[1], &p.options.structure, 1, NULL, numbers_, grads, NULL, &p.error)
    for (k = 0; k < 5; ++k)
      CHECK(STRUCTURE_CALL(preds, counts[k], grads) == SEGLOSS_OPTION && names(p.error.message, "levels"),
            "%d levels: %s",
            counts[k], p.error.message);
    CHECK(STRUCTURE_CALL(NULL, LEVELS, grads) == SEGLOSS_NULL_POINTER && names(p.error.message, "preds"), "NULL: %s",
          p.error.message);
    for (k = 0; k < 2 * LEVELS; ++k) {
      segloss_tensor *bad = k < LEVELS ? &preds[k] : &grads[k - LEVELS], good = *bad;
      char name[20];
      sprintf(name, "%s[%d]", k < LEVELS ? "preds" : "grad_preds", k % LEVELS);
      for (way = 0; (status = spoil(bad, way, &what)) >= 0; ++way, *bad = good)
        CHECK(STRUCTURE_CALL(preds, LEVELS, grads) == status && names(p.error.message, name), "%s of %s: %s", what,
              name,
              p.error.message);
      *bad = good;
      for (j = 0; j < k && k >= LEVELS; ++j) { /* each gradient apart from all the rest */
        bad->data = j < LEVELS ? (char *)preds[j].data + 4 : grads[j - LEVELS].data;
        CHECK(STRUCTURE_CALL(preds, LEVELS, grads) == SEGLOSS_OVERLAP && names(p.error.message, name),
              "%d into %s: %s", j,
              name, p.error.message);
      }
      *bad = good;
      --bad->shape[1];
      CHECK(STRUCTURE_CALL(preds, LEVELS, grads) == SEGLOSS_SHAPE, "%s: another shape: %s", name, p.error.message);
      *bad = good;
      bad->type_bits = 16;
      CHECK(STRUCTURE_CALL(preds, LEVELS, grads) == SEGLOSS_ELEMENT_TYPE, "%s: another type: %s", name,
            p.error.message);
      *bad = good;
    }
    CHECK(is_marked(memory, LEVELS * bytes) && is_marked(numbers_, sizeof numbers_), "%s: outputs were written",
          cases[i].name);
    CHECK(STRUCTURE_CALL(preds, LEVELS, grads) == SEGLOSS_OK, "%s: %s", cases[i].name, p.error.message);
    CHECK(STRUCTURE_CALL(preds, LEVELS, NULL) == SEGLOSS_OK, "%s, no gradients: %s", cases[i].name, p.error.message);
    free(memory);
    free_problem(&p);
  }
}

/* ---- Targets of anchors ---- */

enum { ANCHORS = 2, BOXES = 3, FEATURE_ROWS = 4, FEATURE_COLUMNS = 6, TARGET_TENSORS = 9 };

/* Boxes, lines and heights, then the outputs. */
typedef struct targets {
  segloss_tensor tensors[TARGET_TENSORS];
  const segloss_tensor *given[TARGET_TENSORS];
  double height, width;
  segloss_ctpn_anchor_targets_options options;
  const void *options_pointer;
  segloss_mt19937 generator;
  segloss_error error;
} targets;

static const char *const target_names[TARGET_TENSORS] = {
    "gt_boxes", "line_boxes", "heights", "rpn_labels", "rpn_bbox_targets", "rpn_bbox_inside_weights",
    "rpn_bbox_outside_weights", "rpn_side_targets", "rpn_side_mask"};

static int32_t run_targets(targets *t) {
  const segloss_tensor **g = t->given;
  return segloss_ctpn_anchor_targets(g[0], g[1], g[2], t->height, t->width, t->options_pointer, &t->generator, g[3],
                                     g[4],
                                     g[5], g[6], g[7], g[8], &t->error);
}

static void mark_targets(targets *t) {
  int k;
  int64_t e;
  for (k = 3; k < TARGET_TENSORS; ++k)
    for (e = 0; e < count_of(&t->tensors[k]); ++e) memset(element(&t->tensors[k], e), UNTOUCHED, 4);
  segloss_mt19937_seed(&t->generator, 1234);
}

static void make_targets(targets *t) {
  static const double boxes[BOXES][5] = {{16, 3, 79, 24, 1}, {40, 20, 70, 63, 1}, {0, 0, 15, 10, 1}};
  static const double heights[ANCHORS] = {11, 23};
  int k, i;
  memset(t, 0, sizeof *t);
  for (k = 0; k < TARGET_TENSORS; ++k) {
    int64_t shape[4] = {BOXES, 4};
    int type = k == 1 ? F64 : k == 3 ? I32 : F32, rank = k < 2 ? 2 : k == 2 ? 1 : 4;
    if (k == 1) shape[1] = 5;
    if (k == 2) shape[0] = ANCHORS;
    if (k > 2) shape[0] = 1, shape[1] = FEATURE_ROWS, shape[2] = FEATURE_COLUMNS;
    if (k > 2) shape[3] = k > 3 && k < 7 ? ANCHORS * 4 : ANCHORS;
    t->tensors[k] = segloss_from_dlpack(NULL, SEGLOSS_DEVICE_CPU, 0, rank, types[type].code, types[type].bits, 1, shape,
                                        NULL, 0);
    place_by_malloc(NULL, k, &t->tensors[k]);
    t->given[k] = &t->tensors[k];
    for (i = 0; k < 3 && i < count_of(&t->tensors[k]); ++i)
      put(element(&t->tensors[k], i), type, k == 2 ? heights[i] : boxes[i / shape[1]][i % shape[1]]);
  }
  t->height = FEATURE_ROWS * 16, t->width = FEATURE_COLUMNS * 16;
  t->options = segloss_ctpn_anchor_targets_options_default(SEGLOSS_CTPN_PUBLISHED);
  t->options.batch_size = 8; /* so that the generator draws */
  t->options_pointer = &t->options;
  mark_targets(t);
}

static void free_targets(targets *t) {
  int k;
  for (k = 0; k < TARGET_TENSORS; ++k) free(t->tensors[k].data);
}

static void targets_refused(targets *t, int32_t status, const char *name, const char *what) {
  segloss_mt19937 before = t->generator;
  int32_t got = run_targets(t);
  int k, touched = 0;
  CHECK(got == status, "%s of %s: expected %s, got %s: %.200s", what, name, segloss_status_name(status),
        segloss_status_name(got), t->error.message);
  CHECK(got == SEGLOSS_OK || names(t->error.message, name), "%s of %s: %.200s", what, name, t->error.message);
  for (k = 3; k < TARGET_TENSORS; ++k)
    touched += !is_marked(t->tensors[k].data, (size_t)count_of(&t->tensors[k]) * 4);
  CHECK(touched == 0, "%s of %s: %d outputs were written", what, name, touched);
  CHECK(memcmp(&before, &t->generator, sizeof before) == 0, "%s of %s: the generator went on", what, name);
  if (touched) mark_targets(t);
}

static void targets_accepted(targets *t, const char *what) {
  int32_t status = run_targets(t);
  CHECK(status == SEGLOSS_OK, "%s: %s: %.200s", what, segloss_status_name(status), t->error.message);
}

/* Puts a bad number, and then `good` again, into one field. */
static void targets_field(targets *t, void *field, const char *name, const double *bad, int count) {
  double good;
  int k;
  memcpy(&good, field, 8);
  for (k = 0; k < count; ++k) {
    memcpy(field, &bad[k], 8);
    targets_refused(t, SEGLOSS_OPTION, name, "a number");
  }
  memcpy(field, &good, 8);
}

static void anchor_targets(void) {
  static const double not_finite[] = {NAN, INFINITY, -INFINITY}, extents[] = {0, -1, 65537, NAN, INFINITY, -INFINITY};
  static const double fractions[] = {-5e-324, 1.0000001, NAN, INFINITY}, distances[] = {-1, NAN, INFINITY};
  static const double shares[] = {0, 1, 2, NAN, INFINITY, -INFINITY};
  static const int32_t strides_[] = {0, -1, 65537, INT32_MAX, INT32_MIN}, counts[] = {-1, INT32_MIN};
  targets t, plain;
  int k, j, way;
  make_targets(&t);
  make_targets(&plain);
  targets_accepted(&plain, "plain");

  for (k = 0; k < TARGET_TENSORS; ++k) { /* descriptors, shapes, types, NULL */
    segloss_tensor *good = &t.tensors[k], bad;
    const char *what, *name = target_names[k];
    t.given[k] = &bad;
    for (way = 0;; ++way) {
      int32_t status;
      bad = *good;
      status = spoil(&bad, way, &what);
      if (status < 0) break;
      targets_refused(&t, status, name, what);
    }
    if (k != 2) {
      bad = *good, --bad.shape[good->rank - 1];
      if (k == 1) --bad.shape[1]; /* boxes of 5, 4, 3 */
      targets_refused(&t, SEGLOSS_SHAPE, name, "a column less");
      bad = *good, bad.rank = 5, bad.shape[2] = good->rank < 4 ? 1 : bad.shape[2];
      bad.shape[3] = good->rank < 4 ? 1 : bad.shape[3], bad.shape[4] = 1;
      targets_refused(&t, SEGLOSS_SHAPE, name, "rank 5");
    }
    if (k > 2) {
      bad = *good, bad.shape[0] = 2, bad.shape[1] = FEATURE_ROWS / 2;
      targets_refused(&t, SEGLOSS_SHAPE, name, "two images");
      bad = *good, bad.type_bits = 64;
      targets_refused(&t, SEGLOSS_ELEMENT_TYPE, name, "64 bits");
      bad = *good, bad.type_code = SEGLOSS_TYPE_UINT, bad.type_bits = 8;
      targets_refused(&t, SEGLOSS_ELEMENT_TYPE, name, "bytes");
      bad = *good, spell_strides(&bad), bad.strides[3] = 0;
      targets_refused(&t, SEGLOSS_OVERLAP, name, "places shared");
      for (j = 0; j < k; ++j) {
        bad = *good, bad.data = (char *)t.tensors[j].data + 4;
        targets_refused(&t, SEGLOSS_OVERLAP, name, target_names[j]);
      }
    }
    t.given[k] = NULL;
    if (k == 0 || k == 3) {
      targets_refused(&t, SEGLOSS_NULL_POINTER, name, "NULL");
    } else if (k != 2) {
      targets_accepted(&t, name);
      for (j = 3; j < TARGET_TENSORS; ++j)
        CHECK(j == k || (k == 1 && j > 6) || same_elements(&t.tensors[j], &plain.tensors[j]), "%s is NULL: another %s",
              name, target_names[j]);
      mark_targets(&t);
    } else {
      targets_refused(&t, SEGLOSS_SHAPE, "rpn_labels", "two heights of ten");
    }
    t.given[k] = good;
  }

  for (k = 0; k < TARGET_TENSORS; ++k) { /* backwards, and where memory ends */
    segloss_tensor moved = t.tensors[k];
    size_t bytes = (size_t)count_of(&moved) * (moved.type_bits / 8);
    if (k == 0) make_guarded_end();
    moved.data = at_the_end(moved.data, bytes, 0);
    t.given[k] = &moved;
    targets_accepted(&t, "memory that ends");
    for (j = 3; j < TARGET_TENSORS; ++j)
      CHECK(same_elements(t.given[j], &plain.tensors[j]), "%s where memory ends: another %s", target_names[k],
            target_names[j]);
    turn_round(&moved, moved.rank);
    for (j = 0; k < 3 && j < count_of(&moved); ++j)
      memcpy(element(&moved, j), element(&t.tensors[k], j), moved.type_bits / 8);
    mark_targets(&t);
    targets_accepted(&t, "backwards");
    for (j = 3; j < TARGET_TENSORS; ++j)
      CHECK(same_elements(t.given[j], &plain.tensors[j]), "%s backwards: another %s", target_names[k], target_names[j]);
    t.given[k] = &t.tensors[k];
    mark_targets(&t);
  }

  targets_field(&t, &t.height, "image_height", not_finite, 3);
  targets_field(&t, &t.width, "image_width", not_finite, 3);
  targets_field(&t, &t.options.width, "width", extents, 6);
  targets_field(&t, &t.options.negative_overlap, "negative_overlap", not_finite, 3);
  targets_field(&t, &t.options.positive_overlap, "positive_overlap", not_finite, 3);
  targets_field(&t, &t.options.fg_fraction, "fg_fraction", fractions, 4);
  targets_field(&t, &t.options.positive_weight, "positive_weight", shares, 6);
  targets_field(&t, &t.options.inside_dx, "inside_dx", not_finite, 3);
  targets_field(&t, &t.options.inside_dy, "inside_dy", not_finite, 3);
  targets_field(&t, &t.options.inside_dw, "inside_dw", not_finite, 3);
  targets_field(&t, &t.options.inside_dh, "inside_dh", not_finite, 3);
  targets_field(&t, &t.options.side_distance, "side_distance", distances, 3);
  for (k = 0; k < 5; ++k) t.options.stride = strides_[k], targets_refused(&t, SEGLOSS_OPTION, "stride", "a number");
  t.options.stride = 16;
  for (k = 0; k < 2; ++k) t.options.batch_size = counts[k], targets_refused(&t, SEGLOSS_OPTION, "batch_size",
                                                                            "a number");
  t.options.batch_size = 8;
  for (k = -1; k < 3; k += 3) {
    t.options.variant = k, targets_refused(&t, SEGLOSS_OPTION, "variant", "a number"), t.options.variant = 0;
    t.options.clobber_positives = k, targets_refused(&t, SEGLOSS_OPTION, "clobber_positives", "a number");
    t.options.clobber_positives = 0;
    t.options.reserved = k, targets_refused(&t, SEGLOSS_OPTION, "reserved", "a number"), t.options.reserved = 0;
  }
  for (k = 0; k < 5; ++k) {
    static const uint32_t sizes[] = {0, 4, sizeof t.options - 8, UINT32_MAX, sizeof t.options + 8};
    uint32_t size = sizes[k];
    void *copy = at_the_end(&t.options, size < sizeof t.options && size > 4 ? size : sizeof t.options, k == 4 ? 8 : 0);
    memcpy(copy, &size, 4);
    t.options_pointer = copy;
    if (k == 4) targets_accepted(&t, "a longer struct"), mark_targets(&t);
    else targets_refused(&t, SEGLOSS_STRUCT_SIZE, "options", "a size");
  }
  t.options_pointer = &t.options;
  for (k = 0; k < 4; ++k) {
    t.generator.position = k == 0 ? -1 : k == 1 ? 625 : k == 2 ? INT32_MAX : INT32_MIN;
    targets_refused(&t, SEGLOSS_OPTION, "generator", "a position");
  }
  mark_targets(&t);

  for (k = 0; k < 6; ++k) { /* numbers in the boxes and the heights */
    static const double wild[] = {NAN, INFINITY, -INFINITY, 1e38, -1e38, 1e-45};
    put(element(&t.tensors[0], 5), F32, wild[k]);
    if (k < 3) targets_refused(&t, SEGLOSS_NON_FINITE, "gt_boxes", "a coordinate");
    else targets_accepted(&t, "a wild box"), mark_targets(&t);
    put(element(&t.tensors[0], 5), F32, 20);
    put(element(&t.tensors[1], 7), F64, k < 3 ? wild[k] : wild[k] * 1e270);
    if (k < 3) targets_refused(&t, SEGLOSS_NON_FINITE, "line_boxes", "a coordinate");
    else targets_accepted(&t, "a wild line"), mark_targets(&t);
    put(element(&t.tensors[1], 7), F64, 70);
    put(element(&t.tensors[2], 1), F32, extents[k]);
    targets_refused(&t, SEGLOSS_OPTION, "heights", "a number");
    put(element(&t.tensors[2], 1), F32, 23);
  }
  t.options.variant = SEGLOSS_CTPN_PAPER;
  put(element(&t.tensors[0], 0), F32, 1000); /* x2 < x1 */
  targets_refused(&t, SEGLOSS_OUT_OF_RANGE, "gt_boxes", "a turned box");
  t.options.variant = SEGLOSS_CTPN_PUBLISHED;
  targets_accepted(&t, "a turned box");
  for (k = 0; k < 3; ++k) { /* images that hold no anchor, or more than the map */
    t.height = k == 0 ? -5 : k == 1 ? 0 : 1e300;
    targets_accepted(&t, "an image");
  }
  t.height = FEATURE_ROWS * 16;

  { /* No boxes; as many as there may be, in one place, and one more; too many heights, and none. */
    static const int64_t shapes[] = {0, 1 << 10, (1 << 20) + 1, (int64_t)1 << 50};
    segloss_tensor many = t.tensors[0];
    spell_strides(&many);
    many.strides[0] = 0;
    t.given[0] = &many;
    for (k = 0; k < 4; ++k) {
      many.shape[0] = shapes[k];
      mark_targets(&t);
      if (k < 2) targets_accepted(&t, "boxes");
      else targets_refused(&t, SEGLOSS_SHAPE, "gt_boxes", "too many");
    }
    t.given[0] = &t.tensors[0];
    many = t.tensors[2];
    spell_strides(&many);
    many.strides[0] = 0;
    t.given[2] = &many;
    for (k = 0; k < 3; ++k) {
      many.shape[0] = k == 0 ? 0 : k == 1 ? 1025 : (int64_t)1 << 50;
      targets_refused(&t, SEGLOSS_SHAPE, "heights", "a number of them");
    }
  }
  segloss_mt19937_seed(NULL, 1);
  free_targets(&t);
  free_targets(&plain);
}

/* ---- The rest of the header ---- */

static void names_and_threads(void) {
  static const char *const expected[] = {
      "SEGLOSS_OK", "SEGLOSS_NULL_POINTER", "SEGLOSS_RANK", "SEGLOSS_SHAPE", "SEGLOSS_ELEMENT_TYPE", "SEGLOSS_LAYOUT",
      "SEGLOSS_DEVICE", "SEGLOSS_OVERLAP", "SEGLOSS_OPTION", "SEGLOSS_UNSUPPORTED", "SEGLOSS_OUT_OF_RANGE",
      "SEGLOSS_NON_FINITE", "SEGLOSS_STATISTICS", "SEGLOSS_OUT_OF_MEMORY", "SEGLOSS_INSTRUCTION_SET",
      "SEGLOSS_STRUCT_SIZE"};
  static const int32_t others[] = {-1, 16, 99, 100, INT32_MAX, INT32_MIN};
  char version[32];
  int32_t i, before;
  for (i = 0; i < 16; ++i) CHECK(strcmp(segloss_status_name(i), expected[i]) == 0, "%d: %s", i, segloss_status_name(i));
  for (i = 0; i < 6; ++i)
    CHECK(strcmp(segloss_status_name(others[i]), "SEGLOSS_UNKNOWN") == 0, "%d: %s", others[i],
          segloss_status_name(others[i]));
  sprintf(version, "%d.%d.%d", SEGLOSS_VERSION_MAJOR, SEGLOSS_VERSION_MINOR, SEGLOSS_VERSION_PATCH);
  CHECK(strcmp(segloss_version(), version) == 0, "library %s, header %s", segloss_version(), version);
  before = segloss_num_threads();
  CHECK(before >= 1, "%d threads", before);
  segloss_set_num_threads(3);
  CHECK(segloss_num_threads() == 3, "%d threads", segloss_num_threads());
  segloss_set_num_threads(INT32_MAX);
  CHECK(segloss_num_threads() >= 3, "%d threads", segloss_num_threads());
  segloss_set_num_threads(0);
  CHECK(segloss_num_threads() == before, "%d threads", segloss_num_threads());
  segloss_set_num_threads(INT32_MIN);
  CHECK(segloss_num_threads() == before, "%d threads", segloss_num_threads());
  segloss_shutdown(); /* nothing runs: fine, and twice too */
  segloss_shutdown();
}

/* A wrong SEGLOSS_ISA refuses every call; the sentence quotes it, cut to fit between two characters. */
static void wrong_instruction_set(size_t padding) {
  char value[1200] = "";
  segloss_error error;
  problem p;
  size_t i, length;
  for (i = 0; i < padding; ++i) strcat(value, "x");
  for (i = 0; i < 280; ++i) strcat(value, "\xF0\x9F\x90\xA6"); /* a bird: four bytes */
  setenv("SEGLOSS_ISA", value, 1);
  memset(&error, 0xEE, sizeof error);
  CHECK(segloss_instruction_set(&error) == NULL && segloss_instruction_set(NULL) == NULL, "accepted");
  CHECK(error.status == SEGLOSS_INSTRUCTION_SET && names(error.message, "SEGLOSS_ISA"), "%.100s", error.message);
  length = strlen(error.message);
  CHECK(length > sizeof error.message - 9 && length < sizeof error.message, "%lu bytes", (unsigned long)length);
  CHECK(strcmp(error.message + length - 4, "\xF0\x9F\x90\xA6") == 0, "cut inside a character");
  for (i = 0; i < (size_t)case_count; ++i) {
    make_small(&p, &cases[i], U8);
    refused_by_all(&p, SEGLOSS_INSTRUCTION_SET, "SEGLOSS_ISA", "the wrong value", 0);
    free_problem(&p);
  }
}

static void wrong_isa_0(void) { wrong_instruction_set(0); }
static void wrong_isa_1(void) { wrong_instruction_set(1); }
static void wrong_isa_2(void) { wrong_instruction_set(2); }
static void wrong_isa_3(void) { wrong_instruction_set(3); }

/* ---- Groups ---- */

/* Runs a group in a process of its own; its checks and failures come back through a pipe. */
static void group(const char *name, void (*body)(void)) {
  long counts[2] = {0, 0};
  int ends[2], status = 0;
  pid_t child;
  fflush(stdout);
  if (pipe(ends)) abort();
  child = fork();
  if (child == 0) {
    alarm(SECONDS);
    checks = failures = 0;
    body();
    counts[0] = checks, counts[1] = failures;
    fflush(stdout);
    _exit(write(ends[1], counts, sizeof counts) != sizeof counts);
  }
  close(ends[1]);
  waitpid(child, &status, 0);
  if (read(ends[0], counts, sizeof counts) != sizeof counts) counts[0] = counts[1] = 0;
  close(ends[0]);
  checks += counts[0] + 1;
  failures += counts[1];
  printf("  %-24s %7ld checks", name, counts[0]);
  if (counts[1]) printf(", %ld FAILED", counts[1]);
  if (WIFSIGNALED(status)) printf(", DIED of signal %d", WTERMSIG(status));
  printf("\n");
  failures += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

int main(void) {
  make_cases();
  group("descriptors", descriptors);
  group("mismatches", mismatches);
  group("nulls", nulls);
  group("legal views", legal_views);
  group("overlaps", overlaps);
  group("neighbours", neighbours);
  group("random views", random_views);
  group("far strides", far_strides);
  group("struct sizes", struct_sizes);
  group("option values", option_values);
  group("class arrays", class_arrays);
  group("labels", labels);
  group("combinations", combinations);
  group("statistics", statistics);
  group("values", values);
  group("masked values", masked_values);
  group("ignored values", ignored_values);
  group("empty tensors", empty_tensors);
  group("ranks", ranks);
  group("ranks of classes", ranks_of_classes);
#ifndef SANITIZED /* whose own memory is far above what these groups allow themselves */
  group("extremes", extremes);
  group("out of memory", out_of_memory);
#endif
  group("lists", lists);
  group("anchor targets", anchor_targets);
  group("names and threads", names_and_threads);
  group("wrong SEGLOSS_ISA", wrong_isa_0); /* read once in a process */
  group("wrong SEGLOSS_ISA", wrong_isa_1);
  group("wrong SEGLOSS_ISA", wrong_isa_2);
  group("wrong SEGLOSS_ISA", wrong_isa_3);
  return report("hostile");
}
