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

enum { N = 2, H = 5, W = 7, SECONDS = 30 };

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
  return strncmp(message, name, length) == 0 && message[length] == ':';
}

/* Calls f, with and without an error struct, and expects `status`; outputs in p->outputs, parts and statistics must
   stay what they were. */
static void refused(problem *p, function *f, int32_t status, const char *name, const char *what) {
  double statistics[MAX_STATISTICS];
  int32_t got, silent;
  int i;
  fill_outputs(p);
  memset(&p->error, 0xEE, sizeof p->error);
  if (f == p->c->entry->statistics) memset(p->statistics, UNTOUCHED, sizeof p->statistics);
  memcpy(statistics, p->statistics, sizeof statistics);
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
  CHECK(memcmp(statistics, p->statistics, sizeof statistics) == 0, "%s, %s of %s: statistics were written", p->c->name,
        what, name);
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
  memcpy(saved, p->statistics, sizeof saved);
  refused(p, e->run, status, name, what);
  if (e->statistics && !is_output) refused(p, e->statistics, status, name, what);
  memcpy(p->statistics, saved, sizeof saved);
  if (e->finish) refused(p, e->finish, status, name, what);
}

/* Good statistics for finish, from good inputs. */
static void prepare(problem *p) {
  if (p->c->entry->statistics) accepted(p, p->c->entry->statistics, "good statistics");
}

/* ---- Descriptors ---- */

/* Spoils a dense tensor in way 0, 1, ...; the status that is due, or -1 after the last way. */
static int32_t spoil(segloss_tensor *t, int way, const char **what) {
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
  case 28: *what = "the highest stride"; spell_strides(t); t->strides[0] = INT64_MAX; return SEGLOSS_LAYOUT;
  case 29: *what = "the lowest stride"; spell_strides(t); t->strides[0] = INT64_MIN; return SEGLOSS_LAYOUT;
  case 30: *what = "a stride of half"; spell_strides(t); t->strides[1] = INT64_MIN / 8; return SEGLOSS_LAYOUT;
  case 31: *what = "strides that add up"; spell_strides(t); t->strides[0] = t->strides[1] = INT64_MAX / 17;
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
  int i, k;
  for (i = 0; i < case_count; ++i) {
    problem p;
    make_small(&p, &cases[i], U8);
    prepare(&p);
    for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
      int is_output = k >= MAX_INPUTS, slot = is_output ? k - MAX_INPUTS : k;
      const segloss_tensor **place = is_output ? &p.a.outputs[slot] : &p.a.inputs[slot], *good = *place;
      const char *name = is_output ? p.c->entry->outputs[slot] : p.c->entry->inputs[slot];
      char role = is_output ? 'p' : good ? p.c->entry->roles[slot] : 0;
      segloss_tensor bad;
      if (!good) continue;
      *place = &bad;
      if (k > 0) {
        bad = *good, bad.shape[2] = W - 1;
        refused_by_all(&p, SEGLOSS_SHAPE, name, "a column less", is_output);
        bad = *good, bad.shape[0] = W, bad.shape[2] = N;
        refused_by_all(&p, SEGLOSS_SHAPE, name, "a turned shape", is_output);
        bad = *good, bad.shape[0] = 0;
        refused_by_all(&p, SEGLOSS_SHAPE, name, "emptiness", is_output);
        bad = *good, bad.rank = 2;
        refused_by_all(&p, SEGLOSS_SHAPE, name, "rank 2", is_output);
        bad = *good, bad.rank = 5, bad.shape[3] = bad.shape[4] = 1;
        refused_by_all(&p, SEGLOSS_SHAPE, name, "rank 5", is_output);
      }
      if (k > 0 && role == 'p') {
        bad = *good, bad.type_bits = 64;
        refused_by_all(&p, SEGLOSS_ELEMENT_TYPE, name, "another float", is_output);
        bad = *good, bad.type_bits = 16;
        refused_by_all(&p, SEGLOSS_ELEMENT_TYPE, name, "float16 among float32", is_output);
      }
      if (role == 'p' || role == 'o') {
        bad = *good, bad.type_code = SEGLOSS_TYPE_UINT, bad.type_bits = 8;
        refused_by_all(&p, SEGLOSS_ELEMENT_TYPE, name, "bytes", is_output);
        bad = *good, bad.type_code = SEGLOSS_TYPE_INT;
        refused_by_all(&p, SEGLOSS_ELEMENT_TYPE, name, "int32", is_output);
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
      if (k == e->optional && k) accepted(&p, e->run, "without it"), fill_outputs(&p);
      else refused_by_all(&p, SEGLOSS_NULL_POINTER, e->inputs[k], "NULL", 0);
      p.a.inputs[k] = &p.inputs[k];
    }
    if (!e->statistics && e->outputs[1] == NULL) { /* the one thing that such a call is for */
      p.a.outputs[0] = NULL;
      refused_by_all(&p, SEGLOSS_NULL_POINTER, e->outputs[0], "NULL", 1);
      p.a.outputs[0] = &p.outputs[0];
    }
    if (e->statistics) {
      p.a.statistics = NULL;
      refused(&p, e->statistics, SEGLOSS_NULL_POINTER, "statistics", "NULL");
      refused(&p, e->finish, SEGLOSS_NULL_POINTER, "statistics", "NULL");
      p.a.statistics = p.statistics;
    }
    if (cases[i].absent && e->predictions == 3) { /* all of the other maps or none, and no gradient of those left out */
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

static void legal_views(void) {
  int i, k, misalignment;
  for (i = 0; i < case_count; ++i) {
    problem p;
    char what[60];
    /* Broadcast and backwards inputs. */
    for (k = 0; k < input_count(&cases[i]); ++k) {
      segloss_tensor view;
      int way;
      if (is_absent(&cases[i], k)) continue;
      for (way = 0; way < 5; ++way) {
        make_small(&p, &cases[i], U8);
        view = p.inputs[k];
        spell_strides(&view);
        if (way == 0) view.strides[0] = 0;
        if (way == 1) view.strides[1] = view.strides[2] = 0;
        if (way == 2) view.strides[0] = view.strides[1] = view.strides[2] = 0;
        if (way == 3) view.data = element(&view, N * H * W - 1), view.strides[0] *= -1, view.strides[1] *= -1, view.strides[2] *= -1;
        if (way == 4) view.data = element(&view, W - 1), view.strides[2] = -1;
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
      spell_strides(&p.outputs[k]);
      p.outputs[k].data = element(&p.outputs[k], N * H * W - 1);
      p.outputs[k].strides[0] *= -1, p.outputs[k].strides[1] *= -1, p.outputs[k].strides[2] *= -1;
    }
    same_as_plain(&p, "outputs backwards");
    for (k = 0; k < MAX_OUTPUTS; ++k)
      if (p.a.outputs[k]) p.outputs[k].data = element(&p.outputs[k], N * H * W - 1);
    free_problem(&p);
    for (misalignment = 1; misalignment < 4; ++misalignment) {
      unsigned char *memory = malloc((MAX_INPUTS + MAX_OUTPUTS) * (N * H * W * 4 + 4)), *at = memory + misalignment;
      make_small(&p, &cases[i], U8);
      for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
        segloss_tensor *t = k < MAX_INPUTS ? &p.inputs[k] : &p.outputs[k - MAX_INPUTS];
        size_t bytes = (size_t)(N * H * W) * (t->type_bits / 8u);
        if (!t->data) continue;
        memcpy(at, t->data, bytes);
        free(t->data);
        t->data = at;
        at += (bytes + 3) / 4 * 4;
      }
      sprintf(what, "addresses of 4n + %d", misalignment);
      same_as_plain(&p, what);
      free(memory);
    }
  }
}

/* ---- Overlap ---- */

/* All tensors in one slab, inputs and outputs each with a free segment on both sides. */
enum { SEGMENT = N * H * W * 4, SLAB = (2 * (MAX_INPUTS + MAX_OUTPUTS) + 1) * SEGMENT };

static void make_in_slab(problem *p, const test_case *c, unsigned char *slab) {
  int k;
  make_small(p, c, U8);
  memset(slab, UNTOUCHED, SLAB);
  for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
    segloss_tensor *t = k < MAX_INPUTS ? &p->inputs[k] : &p->outputs[k - MAX_INPUTS];
    unsigned char *at = slab + (2 * k + 1) * SEGMENT;
    if (!t->data) continue;
    memcpy(at, t->data, (size_t)(N * H * W) * (t->type_bits / 8u));
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
        int bytes, shifts[7];
        segloss_tensor moved;
        make_in_slab(&p, &cases[i], slab);
        prepare(&p);
        other = k < MAX_INPUTS ? p.a.inputs[k] : k - MAX_INPUTS == o ? NULL : p.a.outputs[k - MAX_INPUTS];
        if (!other) continue;
        bytes = N * H * W * (other->type_bits / 8);
        shifts[0] = 1 - SEGMENT, shifts[1] = -4, shifts[2] = -1, shifts[3] = 0, shifts[4] = 1, shifts[5] = 4;
        shifts[6] = bytes - 1;
        moved = p.outputs[o];
        p.a.outputs[o] = &moved;
        for (s = 0; s < 7; ++s) {
          char what[80];
          const char *to_blame = e->outputs[k - MAX_INPUTS > o ? k - MAX_INPUTS : o]; /* the later of two outputs */
          sprintf(what, "%d bytes into %s", shifts[s], k < MAX_INPUTS ? e->inputs[k] : e->outputs[k - MAX_INPUTS]);
          if (k < e->predictions && k == o && shifts[s] == 0) continue; /* in place: in both_forms.c */
          moved.data = (unsigned char *)other->data + shifts[s];
          refused_by_all(&p, SEGLOSS_OVERLAP, to_blame, what, 1);
        }
        /* Side by side is apart. */
        moved.data = (unsigned char *)other->data - SEGMENT;
        accepted(&p, e->run, "just before");
        moved.data = (unsigned char *)other->data + bytes;
        accepted(&p, e->run, "just behind");
      }
      /* With itself, and with its prediction turned round. */
      make_in_slab(&p, &cases[i], slab);
      prepare(&p);
      for (k = 0; k < 6; ++k) {
        segloss_tensor own = p.outputs[o];
        spell_strides(&own);
        if (k == 0) own.strides[2] = 0;
        if (k == 1) own.strides[0] = 0;
        if (k == 2) own.strides[1] = W - 1;
        if (k == 3) own.strides[0] = own.strides[1] = own.strides[2] = 0;
        if (k == 4) own.strides[1] = -own.strides[2];
        if (k == 5 && o < e->predictions) {
          own.data = element(&p.inputs[o], N * H * W - 1);
          own.strides[0] *= -1, own.strides[1] *= -1, own.strides[2] *= -1;
        } else if (k == 5) {
          continue;
        }
        p.a.outputs[o] = &own;
        refused_by_all(&p, SEGLOSS_OVERLAP, e->outputs[o], k < 5 ? "places shared" : "the prediction backwards", 1);
      }
    }
  }
}

/* Channels of one buffer, interleaved or not; rows in the gaps between rows; unit extents in place. */
static void neighbours(void) {
  enum { CHANNELS = MAX_INPUTS + MAX_OUTPUTS };
  int i, k, layout;
  for (i = 0; i < case_count; ++i) {
    problem p, plain;
    for (layout = 0; layout < 4; ++layout) {
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
        if (!p.a.outputs[k]) continue;
        grads[k] = p.inputs[k];
        spell_strides(&grads[k]);
        grads[k].strides[0] = 12345;
        p.a.outputs[k] = &grads[k];
      }
      accepted(&p, cases[i].entry->run, "in place, unit extents");
      for (k = 0; k < MAX_OUTPUTS; ++k)
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
          segloss_status_name(status), shared ? "overlap" : "do not overlap", (int)shape[0], (int)shape[1], (int)shape[2],
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
          gt = segloss_from_dlpack(memory + 30, SEGLOSS_DEVICE_CPU, 0, 2, SEGLOSS_TYPE_FLOAT, 64, 1, shape, strides[1], 0);
          grad = segloss_from_dlpack(memory + 30, SEGLOSS_DEVICE_CPU, 0, 2, SEGLOSS_TYPE_FLOAT, 64, 1, shape, strides[2], 0);
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
    for (which = 0; which < 3; ++which) { /* options, execution, parts */
      static const char *const struct_names[] = {"options", "execution", "parts"};
      segloss_execution execution = segloss_execution_default();
      size_t size = which == 0 ? e->options_size : which == 1 ? sizeof execution : e->parts_size;
      const void *good = which == 0 ? p.a.options : which == 1 ? (void *)&execution : (void *)&p.parts;
      const void **place = which == 0 ? &p.a.options : which == 1 ? (const void **)&p.a.execution : (const void **)&p.a.parts;
      const void *before = *place;
      uint32_t bad[6];
      if (!size) continue;
      bad[0] = 0, bad[1] = 4, bad[2] = (uint32_t)size - 8, bad[3] = (uint32_t)size - 1, bad[4] = UINT32_MAX;
      bad[5] = 1u << 31;
      for (k = 0; k < 6; ++k) {
        size_t there = bad[k] < 4 || bad[k] > size ? 4 : bad[k];
        void *copy = at_the_end(good, there, 0);
        memcpy(copy, &bad[k], 4);
        *place = copy;
        refused_by_all(&p, SEGLOSS_STRUCT_SIZE, struct_names[which], "a size", which == 2);
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
        CHECK(same_results(&p, &plain), "%s, longer %s: other results", cases[i].name, struct_names[which]);
        fill_outputs(&p);
        if (which == 2) continue;
        copy[size + (size_t)k - 1] = 1; /* asks for something unknown */
        refused_by_all(&p, SEGLOSS_STRUCT_SIZE, struct_names[which], "an unknown option", 0);
      }
      *place = before;
    }
    /* Exactly what is described is read. */
    p.a.options = at_the_end(&cases[i].options, e->options_size, 0);
    accepted(&p, e->run, "options at the end of memory");
    CHECK(same_results(&p, &plain), "%s: options at the end of memory", cases[i].name);
    free_problem(&p);
    free_problem(&plain);
  }
}

/* Every option with its kind: a number, a count, or a whole number of 0 ... last. */
enum { NUMBER = -1, COUNT = -2 };

static const struct {
  const entry *entry;
  size_t offset;
  const char *name;
  int last;
} fields[] = {
    {&MASK_DICE, offsetof(segloss_mask_dice_options, eps), "eps", NUMBER},
    {&MASK_L1, offsetof(segloss_mask_l1_options, eps), "eps", NUMBER},
    {&BALANCE, offsetof(segloss_balance_options, main_loss), "main_loss", SEGLOSS_MAIN_CROSS_ENTROPY},
    {&BALANCE, offsetof(segloss_balance_options, balance_loss), "balance_loss", 1},
    {&BALANCE, offsetof(segloss_balance_options, bce_form), "bce_form", SEGLOSS_BCE_LOGITS},
    {&BALANCE, offsetof(segloss_balance_options, truncate_weights), "truncate_weights", 1},
    {&BALANCE, offsetof(segloss_balance_options, clean), "clean", 1},
    {&BALANCE, offsetof(segloss_balance_options, negative_ratio), "negative_ratio", NUMBER},
    {&BALANCE, offsetof(segloss_balance_options, eps), "eps", NUMBER},
    {&BALANCE, offsetof(segloss_balance_options, fallback_negative_num), "fallback_negative_num", COUNT},
    {&BALANCE_MAP, offsetof(segloss_balance_options, bce_form), "bce_form", SEGLOSS_BCE_LOGITS},
    {&BALANCE_MAP_BACKWARD, offsetof(segloss_balance_options, main_loss), "main_loss", SEGLOSS_MAIN_CROSS_ENTROPY},
    {&DB, offsetof(segloss_db_options, variant), "variant", SEGLOSS_DB_PAPER},
    {&DB, offsetof(segloss_db_options, balance_loss), "balance_loss", 1},
    {&DB, offsetof(segloss_db_options, main_loss), "main_loss", SEGLOSS_MAIN_CROSS_ENTROPY},
    {&DB, offsetof(segloss_db_options, alpha), "alpha", NUMBER},
    {&DB, offsetof(segloss_db_options, beta), "beta", NUMBER},
    {&DB, offsetof(segloss_db_options, negative_ratio), "negative_ratio", NUMBER},
    {&DB, offsetof(segloss_db_options, eps), "eps", NUMBER},
    {&DB, offsetof(segloss_db_options, step_k), "step_k", NUMBER},
    {&DB, offsetof(segloss_db_options, fallback_negative_num), "fallback_negative_num", COUNT},
    {&L1_BALANCE_CE, offsetof(segloss_l1_balance_ce_options, eps), "eps", NUMBER},
    {&L1_BALANCE_CE, offsetof(segloss_l1_balance_ce_options, l1_scale), "l1_scale", NUMBER},
    {&L1_BALANCE_CE, offsetof(segloss_l1_balance_ce_options, bce_scale), "bce_scale", NUMBER},
    {&L1_BALANCE_CE, offsetof(segloss_l1_balance_ce_options, negative_ratio), "negative_ratio", NUMBER},
    {&DB_STEP, offsetof(segloss_db_step_options, k), "k", NUMBER},
    {&DB_STEP_BACKWARD, offsetof(segloss_db_step_options, k), "k", NUMBER},
};

static void option_values(void) {
  static const double wild[] = {1e308, -1e308, 5e-324, -1, 0};
  size_t f;
  int i, k;
  for (i = 0; i < case_count; ++i) {
    problem p;
    options o;
    segloss_execution execution;
    make_small(&p, &cases[i], U8);
    prepare(&p);
    p.a.options = &o;
    for (f = 0; f < sizeof fields / sizeof *fields; ++f) {
      char *field = (char *)&o + fields[f].offset;
      if (fields[f].entry != cases[i].entry) continue;
      for (k = 0; k < 4; ++k) {
        o = cases[i].options;
        if (fields[f].last == NUMBER) {
          double bad = k == 0 ? NAN : k == 1 ? INFINITY : k == 2 ? -INFINITY : -NAN;
          memcpy(field, &bad, 8);
        } else if (fields[f].last == COUNT) {
          int64_t bad = k == 0 ? -1 : k == 1 ? INT64_MIN : k == 2 ? -1000 : INT32_MIN;
          memcpy(field, &bad, 8);
        } else {
          int32_t bad = k == 0 ? -1 : k == 1 ? fields[f].last + 1 : k == 2 ? INT32_MAX : INT32_MIN;
          memcpy(field, &bad, 4);
        }
        refused_by_all(&p, SEGLOSS_OPTION, fields[f].name, "a value", 0);
      }
      for (k = 0; k < 5 && fields[f].last == NUMBER; ++k) { /* finite: whatever comes out, it comes out */
        o = cases[i].options;
        memcpy(field, &wild[k], 8);
        accepted(&p, p.c->entry->run, fields[f].name);
        accepted_in_two(&p, fields[f].name);
      }
      if (fields[f].last == COUNT) {
        int64_t most = INT64_MAX;
        o = cases[i].options;
        memcpy(field, &most, 8);
        accepted(&p, p.c->entry->run, fields[f].name);
      }
      fill_outputs(&p);
    }
    o = cases[i].options;
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

/* Options that are good each by itself, and have no meaning together. */
static void combinations(void) {
  int i, main_loss;
  for (i = 0; i < case_count; ++i) {
    problem p;
    options o = cases[i].options;
    const entry *e = cases[i].entry;
    make_small(&p, &cases[i], U8);
    prepare(&p);
    p.a.options = &o;
    for (main_loss = SEGLOSS_MAIN_EUCLIDEAN; main_loss <= SEGLOSS_MAIN_CROSS_ENTROPY; ++main_loss) {
      if (e == &DB) o.db.main_loss = main_loss;
      else if (e->options_size == sizeof o.balance) o.balance.main_loss = main_loss;
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
    int n = cases[i].length;
    int64_t lengths[6];
    if (!cases[i].entry->statistics) continue;
    lengths[0] = 0, lengths[1] = -1, lengths[2] = n - 1, lengths[3] = n + 1, lengths[4] = INT64_MAX;
    lengths[5] = INT64_MIN;
    make_small(&p, &cases[i], U8);
    prepare(&p);
    memcpy(good, p.statistics, sizeof good);
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
          char role = e->roles[k];
          int is_bce = e == &L1_BALANCE_CE || (e == &DB && o->db.main_loss == SEGLOSS_MAIN_BCE) ||
                       (e->options_size == sizeof o->balance && o->balance.main_loss == SEGLOSS_MAIN_BCE &&
                        o->balance.bce_form != SEGLOSS_BCE_LOGITS);
          int is_torch = is_bce && (e == &L1_BALANCE_CE || (e == &DB && o->db.variant != SEGLOSS_DB_PUBLISHED) ||
                                    (e->options_size == sizeof o->balance && o->balance.bce_form == SEGLOSS_BCE_TORCH));
          int is_probability = (is_bce && role == 'p' && k == 0) || (is_torch && role == 'g') ||
                               (e == &DB && o->db.variant == SEGLOSS_DB_PAPER && o->db.step_k == 0 && k == 2);
          int is_read = !(e == &DB && o->db.variant == SEGLOSS_DB_PAPER && o->db.step_k != 0 && k == 2);
          segloss_execution execution = segloss_execution_default();
          problem p;
          int32_t status, want = is_probability ? SEGLOSS_OUT_OF_RANGE : SEGLOSS_OK;
          if (is_absent(&cases[i], k)) continue;
          make_problem(&p, &cases[i], types_[t], types_[t], N, H, W, 0, 3, place_by_malloc, NULL);
          put(element(&p.inputs[k], N * H * W - 2), types_[t], outside[v]);
          status = e->run(&p.a);
          CHECK(status == want, "%s, %s = %g: %s", cases[i].name, e->inputs[k], outside[v], segloss_status_name(status));
          CHECK(status == SEGLOSS_OK || names(p.error.message, e->inputs[k]), "%s: %s", cases[i].name, p.error.message);
          CHECK(status == SEGLOSS_OK || strstr(p.error.message, "(1, 4, 5)"), "%s: %s", cases[i].name, p.error.message);
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
        const char *roles = cases[i].entry->roles, *mask = strchr(roles, 'm');
        if (!mask || is_absent(&cases[i], (int)(mask - roles))) continue;
        make_problem(&p, &cases[i], types_[t], U8, N, H, W, 0, 3, place_by_malloc, NULL);
        make_problem(&plain, &cases[i], types_[t], U8, N, H, W, 0, 3, place_by_malloc, NULL);
        for (k = 0; k < input_count(&cases[i]); ++k) {
          problem *of[2];
          int j;
          of[0] = &p, of[1] = &plain;
          for (j = 0; j < 2 && p.a.inputs[k]; ++j) {
            unsigned char *at = element(&of[j]->inputs[k], 17);
            if (roles[k] == 'm' || j == 1) memset(at, 0, size_of(p.types[k]));
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
        free_problem(&p);
        for (k = 0; k < MAX_INPUTS + MAX_OUTPUTS; ++k) {
          segloss_tensor *t = k < MAX_INPUTS ? &p.inputs[k] : &p.outputs[k - MAX_INPUTS];
          t->data = NULL;
          if (!is_dense) t->flags = 0, t->strides[0] = INT64_MIN, t->strides[1] = 1, t->strides[2] = INT64_MAX;
          if (!is_dense && t->shape[0] > 1) t->strides[0] = 0;
          if (!is_dense && t->shape[2] > 1) t->strides[2] = 0;
        }
        accepted(&p, e->run, "nothing");
        accepted_in_two(&p, "nothing, in two");
        if (e->parts_size) {
          int dice = e == &MASK_DICE || strstr(cases[i].name, "OHEM") || strstr(cases[i].name, "Dice, not balanced") ||
                     (e == &DB && cases[i].options.db.variant != SEGLOSS_DB_PAPER) || e == &L1_BALANCE_CE;
          double want = dice ? 1 : 0;
          if (e == &DB && strstr(cases[i].name, "OHEM")) want = 5 + 1; /* an OHEM Dice of nothing is 1, times alpha */
          if (cases[i].absent && e->predictions == 3) want = 0;
          CHECK(p.parts.numbers[1] == want, "%s of nothing is %g, not %g", cases[i].name, p.parts.numbers[1], want);
        }
      }
}

static void ranks(void) {
  int i, rank, k;
  for (i = 0; i < case_count; ++i) {
    const entry *e = cases[i].entry;
    problem p, plain;
    if (e == &DB || e == &L1_BALANCE_CE || strstr(cases[i].name, "OHEM")) continue;
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
    CHECK(strcmp(segloss_status_name(others[i]), "SEGLOSS_UNKNOWN") == 0, "%d: %s", others[i], segloss_status_name(others[i]));
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
  group("combinations", combinations);
  group("statistics", statistics);
  group("values", values);
  group("masked values", masked_values);
  group("empty tensors", empty_tensors);
  group("ranks", ranks);
  group("out of memory", out_of_memory);
  group("names and threads", names_and_threads);
  group("wrong SEGLOSS_ISA", wrong_isa_0); /* read once in a process */
  group("wrong SEGLOSS_ISA", wrong_isa_1);
  group("wrong SEGLOSS_ISA", wrong_isa_2);
  group("wrong SEGLOSS_ISA", wrong_isa_3);
  return report("hostile");
}
