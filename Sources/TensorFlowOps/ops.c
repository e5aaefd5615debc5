/* Losses as TensorFlow operations, through TensorFlow's C API.

     SeglossLoss      predictions, targets -> value (rank 0), parts, statistics
     SeglossSamples   the same for each sample by itself: value (N), parts (N x .), statistics (N x .)
     SeglossItems     reduction "none": the value is a map or an array of scores; parts and statistics are empty
     SeglossGradient  predictions, targets, statistics, grad_output -> a gradient for each prediction

   The attribute `program` (include/losses.h, "Programs") says which loss that is, so that nothing here knows any loss.

   The library is linked with neither TensorFlow nor libsegloss: when it is loaded, it looks both up in the process, where
   Python has put them. So it needs no header of TensorFlow's, fits every release with these functions, and never brings
   in a second libsegloss. */
#define _GNU_SOURCE /* dladdr */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "losses.h"
#include "tensorflow_ops.h"

/* ---- What is used of TensorFlow (tensorflow/c/{ops,kernels,tf_tensor,tf_status}.h) and of libsegloss -------------- */

typedef struct TF_Status TF_Status;
typedef struct TF_Tensor TF_Tensor;
typedef struct TF_OpDefinitionBuilder TF_OpDefinitionBuilder;
typedef struct TF_ShapeInferenceContext TF_ShapeInferenceContext;
typedef struct TF_ShapeHandle TF_ShapeHandle;
typedef struct TF_KernelBuilder TF_KernelBuilder;
typedef struct TF_OpKernelConstruction TF_OpKernelConstruction;
typedef struct TF_OpKernelContext TF_OpKernelContext;

typedef void (*ShapeFunction)(TF_ShapeInferenceContext *, TF_Status *);
typedef void *(*Create)(TF_OpKernelConstruction *);
typedef void (*Compute)(void *, TF_OpKernelContext *);
typedef void (*Delete)(void *);

enum { TF_OK = 0, TF_INVALID_ARGUMENT = 3, TF_RESOURCE_EXHAUSTED = 8 };
enum {
  TF_FLOAT = 1,
  TF_DOUBLE = 2,
  TF_INT32 = 3,
  TF_UINT8 = 4,
  TF_INT16 = 5,
  TF_INT8 = 6,
  TF_INT64 = 9,
  TF_BOOL = 10,
  TF_BFLOAT16 = 14,
  TF_UINT16 = 17,
  TF_HALF = 19,
  TF_UINT32 = 22,
  TF_UINT64 = 23
};

#define TENSORFLOW(F)                                                                                                  \
  F(TF_Status *, TF_NewStatus, (void))                                                                                 \
  F(void, TF_DeleteStatus, (TF_Status *))                                                                              \
  F(void, TF_SetStatus, (TF_Status *, int code, const char *message))                                                  \
  F(int, TF_GetCode, (const TF_Status *))                                                                              \
  F(const char *, TF_Message, (const TF_Status *))                                                                     \
  F(int, TF_TensorType, (const TF_Tensor *))                                                                           \
  F(int, TF_NumDims, (const TF_Tensor *))                                                                              \
  F(int64_t, TF_Dim, (const TF_Tensor *, int))                                                                         \
  F(void *, TF_TensorData, (const TF_Tensor *))                                                                        \
  F(void, TF_DeleteTensor, (TF_Tensor *))                                                                              \
  F(TF_OpDefinitionBuilder *, TF_NewOpDefinitionBuilder, (const char *name))                                           \
  F(void, TF_OpDefinitionBuilderAddAttr, (TF_OpDefinitionBuilder *, const char *))                                     \
  F(void, TF_OpDefinitionBuilderAddInput, (TF_OpDefinitionBuilder *, const char *))                                    \
  F(void, TF_OpDefinitionBuilderAddOutput, (TF_OpDefinitionBuilder *, const char *))                                   \
  F(void, TF_OpDefinitionBuilderSetShapeInferenceFunction, (TF_OpDefinitionBuilder *, ShapeFunction))                  \
  F(void, TF_RegisterOpDefinition, (TF_OpDefinitionBuilder *, TF_Status *))                                            \
  F(TF_ShapeHandle *, TF_NewShapeHandle, (void))                                                                       \
  F(void, TF_DeleteShapeHandle, (TF_ShapeHandle *))                                                                    \
  F(TF_ShapeHandle *, TF_ShapeInferenceContextScalar, (TF_ShapeInferenceContext *))                                    \
  F(int64_t, TF_ShapeInferenceContextRank, (TF_ShapeInferenceContext *, TF_ShapeHandle *))                             \
  F(void, TF_ShapeInferenceContextGetInput, (TF_ShapeInferenceContext *, int, TF_ShapeHandle *, TF_Status *))          \
  F(void, TF_ShapeInferenceContextSetOutput, (TF_ShapeInferenceContext *, int, TF_ShapeHandle *, TF_Status *))         \
  F(void, TF_ShapeInferenceContextSetUnknownShape, (TF_ShapeInferenceContext *, TF_Status *))                          \
  F(void, TF_ShapeInferenceContextSubshape,                                                                            \
    (TF_ShapeInferenceContext *, TF_ShapeHandle *, int64_t start, int64_t end, TF_ShapeHandle *, TF_Status *))         \
  F(TF_KernelBuilder *, TF_NewKernelBuilder, (const char *op, const char *device, Create, Compute, Delete))            \
  F(void, TF_RegisterKernelBuilder, (const char *name, TF_KernelBuilder *, TF_Status *))                               \
  F(void, TF_OpKernelConstruction_Failure, (TF_OpKernelConstruction *, TF_Status *))                                   \
  F(void, TF_OpKernelConstruction_GetAttrSize,                                                                         \
    (TF_OpKernelConstruction *, const char *, int32_t *list, int32_t *total, TF_Status *))                             \
  F(void, TF_OpKernelConstruction_GetAttrString,                                                                       \
    (TF_OpKernelConstruction *, const char *, char *, size_t length, TF_Status *))                                     \
  F(int, TF_NumInputs, (TF_OpKernelContext *))                                                                         \
  F(int, TF_NumOutputs, (TF_OpKernelContext *))                                                                        \
  F(void, TF_GetInput, (TF_OpKernelContext *, int, TF_Tensor **, TF_Status *))                                         \
  F(int, TF_ExpectedOutputDataType, (TF_OpKernelContext *, int))                                                       \
  F(TF_Tensor *, TF_AllocateOutput,                                                                                    \
    (TF_OpKernelContext *, int, int type, const int64_t *dims, int rank, size_t bytes, TF_Status *))                   \
  F(void, TF_OpKernelContext_Failure, (TF_OpKernelContext *, TF_Status *))

#define DECLARE(result, name, parameters) static result(*name) parameters;
TENSORFLOW(DECLARE)

static __typeof__(&segloss_program_outputs) program_outputs;
static __typeof__(&segloss_program_forward) program_forward;
static __typeof__(&segloss_program_gradient) program_gradient;

/* ---- Tensors ------------------------------------------------------------------------------------------------------ */

/* An element type of TensorFlow's in the library's numbers; the library refuses what it cannot read. */
static void describe_type(int type, segloss_tensor *view) {
  static const struct {
    uint8_t type, code, bits;
  } types[] = {
      {TF_FLOAT, SEGLOSS_TYPE_FLOAT, 32}, {TF_DOUBLE, SEGLOSS_TYPE_FLOAT, 64},    {TF_HALF, SEGLOSS_TYPE_FLOAT, 16},
      {TF_INT8, SEGLOSS_TYPE_INT, 8},     {TF_BFLOAT16, SEGLOSS_TYPE_BFLOAT, 16}, {TF_INT16, SEGLOSS_TYPE_INT, 16},
      {TF_INT32, SEGLOSS_TYPE_INT, 32},   {TF_INT64, SEGLOSS_TYPE_INT, 64},       {TF_UINT8, SEGLOSS_TYPE_UINT, 8},
      {TF_UINT16, SEGLOSS_TYPE_UINT, 16}, {TF_UINT32, SEGLOSS_TYPE_UINT, 32},     {TF_UINT64, SEGLOSS_TYPE_UINT, 64},
      {TF_BOOL, SEGLOSS_TYPE_BOOL, 8},
  };
  enum { OPAQUE = 3 }; /* DLPack's handle */
  view->type_code = OPAQUE;
  view->type_bits = 0;
  view->type_lanes = 1;
  for (size_t i = 0; i < sizeof types / sizeof *types; ++i) {
    if (types[i].type == type) {
      view->type_code = types[i].code;
      view->type_bits = types[i].bits;
    }
  }
}

/* TensorFlow's tensors are dense. A rank that is too high is kept for the library to refuse. */
static segloss_tensor describe(const TF_Tensor *tensor) {
  segloss_tensor view = {.device_type = SEGLOSS_DEVICE_CPU, .flags = SEGLOSS_DENSE};
  view.data = TF_TensorData(tensor);
  view.rank = TF_NumDims(tensor);
  describe_type(TF_TensorType(tensor), &view);
  for (int i = 0; i < view.rank && i < SEGLOSS_MAX_RANK; ++i) view.shape[i] = TF_Dim(tensor, i);
  return view;
}

static int64_t elements(const int64_t *shape, int rank) {
  int64_t count = 1;
  for (int i = 0; i < rank; ++i) count *= shape[i];
  return count;
}

/* One sample of a tensor of rank 1 or more. */
static segloss_tensor sample(const segloss_tensor *all, int64_t index) {
  segloss_tensor one = *all;
  one.shape[0] = 1;
  if (one.data) one.data = (char *)one.data + index * elements(one.shape, one.rank) * (one.type_bits / 8);
  return one;
}

/* ---- Kernels ------------------------------------------------------------------------------------------------------ */

/* The attribute `program` of one operation, and what it said of the last shapes that came. */
typedef struct Program {
  pthread_mutex_t lock;
  int known_count;
  segloss_tensor *known_arrays, value;
  int64_t statistics, parts;
  int32_t size;
  char data[];
} Program;

static void delete(void *kernel) {
  Program *program = kernel;
  if (!program) return;
  pthread_mutex_destroy(&program->lock);
  free(program->known_arrays);
  free(program);
}

static void *create(TF_OpKernelConstruction *construction) {
  TF_Status *status = TF_NewStatus();
  int32_t list = 0, size = 0;
  Program *program = NULL;
  TF_OpKernelConstruction_GetAttrSize(construction, "program", &list, &size, status);
  if (TF_GetCode(status) == TF_OK) {
    program = calloc(1, sizeof *program + (size_t)size);
    if (program) {
      pthread_mutex_init(&program->lock, NULL);
      program->size = size;
      TF_OpKernelConstruction_GetAttrString(construction, "program", program->data, (size_t)size, status);
    } else {
      TF_SetStatus(status, TF_RESOURCE_EXHAUSTED, "segloss: no memory for the program");
    }
  }
  if (TF_GetCode(status) != TF_OK) {
    TF_OpKernelConstruction_Failure(construction, status);
    delete(program);
    program = NULL;
  }
  TF_DeleteStatus(status);
  return program;
}

enum { FEW = 12 }; /* tensors that need no memory of the heap for their descriptors */

/* What one run of a kernel holds. */
typedef struct Run {
  TF_OpKernelContext *context;
  TF_Status *status;
  int inputs, outputs;
  TF_Tensor **handles;   /* of the inputs, then of the outputs */
  segloss_tensor *views; /* likewise */
  TF_Tensor *few_handles[FEW];
  segloss_tensor few_views[FEW];
} Run;

static bool failed(const Run *run) { return TF_GetCode(run->status) != TF_OK; }

static void fail(Run *run, const char *sentence) { TF_SetStatus(run->status, TF_INVALID_ARGUMENT, sentence); }

/* Whether the library was content; else its sentence is the run's. */
static bool succeeded(Run *run, int32_t result, const segloss_error *error) {
  if (result == SEGLOSS_OK) return true;
  int code = result == SEGLOSS_OUT_OF_MEMORY ? TF_RESOURCE_EXHAUSTED : TF_INVALID_ARGUMENT;
  TF_SetStatus(run->status, code, error->message);
  return false;
}

static void out_of_memory(Run *run) {
  TF_SetStatus(run->status, TF_RESOURCE_EXHAUSTED, "segloss: no memory for descriptors");
}

static void begin(Run *run, TF_OpKernelContext *context) {
  run->context = context;
  run->status = TF_NewStatus();
  run->inputs = TF_NumInputs(context);
  run->outputs = TF_NumOutputs(context);
  size_t count = (size_t)(run->inputs + run->outputs);
  memset(run->few_handles, 0, sizeof run->few_handles);
  run->handles = count <= FEW ? run->few_handles : calloc(count, sizeof *run->handles);
  run->views = count <= FEW ? run->few_views : calloc(count, sizeof *run->views);
  if (!run->handles || !run->views) return out_of_memory(run);
  for (int i = 0; i < run->inputs && !failed(run); ++i) {
    TF_GetInput(context, i, &run->handles[i], run->status);
    if (!failed(run)) run->views[i] = describe(run->handles[i]);
  }
}

/* A new output: no input's memory is used again for it. */
static segloss_tensor *allocate(Run *run, int index, const int64_t *shape, int rank) {
  segloss_tensor *view = &run->views[run->inputs + index];
  int type = TF_ExpectedOutputDataType(run->context, index);
  describe_type(type, view);
  size_t bytes = (size_t)elements(shape, rank) * (view->type_bits / 8);
  TF_Tensor *tensor = TF_AllocateOutput(run->context, index, type, shape, rank, bytes, run->status);
  if (failed(run)) return NULL;
  run->handles[run->inputs + index] = tensor;
  *view = describe(tensor);
  return view;
}

static void end(Run *run) {
  if (failed(run)) TF_OpKernelContext_Failure(run->context, run->status);
  for (int i = 0; run->handles && i < run->inputs + run->outputs; ++i) {
    if (run->handles[i]) TF_DeleteTensor(run->handles[i]);
  }
  if (run->handles != run->few_handles) free(run->handles);
  if (run->views != run->few_views) free(run->views);
  TF_DeleteStatus(run->status);
}

/* What the program makes of arrays of these shapes and types: the last answer again, where the question is the same. */
static bool outputs(Run *run, Program *program, const segloss_tensor *arrays, int64_t *statistics, int64_t *parts,
                    segloss_tensor *value) {
  enum { PAST_DATA = offsetof(segloss_tensor, device_type), REST = sizeof(segloss_tensor) - PAST_DATA };
  segloss_error error;
  pthread_mutex_lock(&program->lock);
  bool known = program->known_count == run->inputs;
  for (int i = 0; known && i < run->inputs; ++i)
    known = memcmp((const char *)&arrays[i] + PAST_DATA, (const char *)&program->known_arrays[i] + PAST_DATA, REST) == 0;
  if (!known) {
    program->known_count = 0;
    size_t size = (size_t)run->inputs * sizeof *arrays;
    segloss_tensor *memory = realloc(program->known_arrays, size);
    if (memory) program->known_arrays = memcpy(memory, arrays, size);
    known = succeeded(run,
                      program_outputs(program->data, program->size, arrays, run->inputs, &program->statistics,
                                      &program->parts, &program->value, &error),
                      &error);
    if (known && memory) program->known_count = run->inputs;
  }
  *statistics = program->statistics;
  *parts = program->parts;
  *value = program->value;
  pthread_mutex_unlock(&program->lock);
  return known;
}

/* The samples of arrays[0 ..< count], which all have them in their first dimension; -1 where they have not. */
static int64_t samples(Run *run, int count) {
  char sentence[160];
  for (int i = 0; i < count; ++i) {
    const segloss_tensor *view = &run->views[i];
    if (view->rank < 1 || view->rank > SEGLOSS_MAX_RANK || view->shape[0] != run->views[0].shape[0]) {
      snprintf(sentence, sizeof sentence,
               "per_sample: expected arrays whose first dimension is the batch, got %lld samples in the first array and "
               "%lld in array %d",
               (long long)run->views[0].shape[0], (long long)(view->rank < 1 ? 0 : view->shape[0]), i);
      fail(run, sentence);
      return -1;
    }
  }
  return run->views[0].shape[0];
}

/* Views of one sample of each array. */
static void select_sample(const Run *run, int count, int64_t index, segloss_tensor *arrays) {
  for (int i = 0; i < count; ++i) arrays[i] = sample(&run->views[i], index);
}

static void forward_batch(Run *run, Program *program) {
  segloss_error error;
  segloss_tensor value;
  int64_t statistics = 0, parts = 0;
  if (!outputs(run, program, run->views, &statistics, &parts, &value)) return;
  const segloss_tensor *values = allocate(run, 0, value.shape, value.rank);
  const segloss_tensor *part = values ? allocate(run, 1, &parts, 1) : NULL;
  const segloss_tensor *statistic = part ? allocate(run, 2, &statistics, 1) : NULL;
  if (!statistic) return;
  succeeded(run,
            program_forward(program->data, program->size, run->views, run->inputs, statistic->data, statistics,
                            part->data, parts, values, &error),
            &error);
}

static void forward_samples(Run *run, Program *program) {
  segloss_error error;
  segloss_tensor value;
  segloss_tensor *arrays = calloc((size_t)run->inputs, sizeof *arrays);
  int64_t statistics = 0, parts = 0, count = arrays ? samples(run, run->inputs) : -1;
  if (!arrays) out_of_memory(run);
  if (count < 0) goto done;
  select_sample(run, run->inputs, 0, arrays);
  if (!outputs(run, program, arrays, &statistics, &parts, &value)) goto done;
  if (value.rank != 0) {
    fail(run, "per_sample: expected a loss that is one number, got reduction 'none'");
    goto done;
  }
  const segloss_tensor *values = allocate(run, 0, &count, 1);
  const segloss_tensor *part = values ? allocate(run, 1, (int64_t[]){count, parts}, 2) : NULL;
  const segloss_tensor *statistic = part ? allocate(run, 2, (int64_t[]){count, statistics}, 2) : NULL;
  for (int64_t i = 0; statistic && i < count; ++i) {
    segloss_tensor one = sample(values, i);
    one.rank = 0;
    select_sample(run, run->inputs, i, arrays);
    if (!succeeded(run,
                   program_forward(program->data, program->size, arrays, run->inputs,
                                   (double *)statistic->data + i * statistics, statistics,
                                   (double *)part->data + i * parts, parts, &one, &error),
                   &error))
      break;
  }
done:
  free(arrays);
}

static void compute_batch(void *program, TF_OpKernelContext *context) {
  Run run;
  begin(&run, context);
  if (!failed(&run)) forward_batch(&run, program);
  end(&run);
}

static void compute_samples(void *program, TF_OpKernelContext *context) {
  Run run;
  begin(&run, context);
  if (!failed(&run)) forward_samples(&run, program);
  end(&run);
}

/* Statistics of rank 2 are those of samples. */
static void gradient(Run *run, const Program *program) {
  segloss_error error;
  const int count = run->inputs - 2;
  const segloss_tensor *statistics = &run->views[count], *grad_output = &run->views[count + 1];
  const bool by_sample = statistics->rank == 2;
  segloss_program header = {.predictions = -1};
  if (program->size >= (int32_t)sizeof header) memcpy(&header, program->data, sizeof header);
  if (header.predictions != run->outputs || count < run->outputs)
    return fail(run, "predictions: expected as many as the program has");
  if (statistics->rank < 1 || statistics->rank > 2)
    return fail(run, "statistics: expected those of the forward operation");
  for (int i = 0; i < run->outputs; ++i) {
    if (run->views[i].rank > SEGLOSS_MAX_RANK) return fail(run, "gradient: expected the forward operation's arrays");
    if (!allocate(run, i, run->views[i].shape, run->views[i].rank)) return;
  }
  const int64_t length = statistics->shape[statistics->rank - 1];
  const int64_t steps = by_sample ? samples(run, count) : 1;
  if (steps < 0) return;
  if (by_sample && (statistics->shape[0] != steps || grad_output->rank != 1 || grad_output->shape[0] != steps))
    return fail(run, "grad_output: expected a factor for each sample");

  const size_t all = (size_t)run->inputs + (size_t)run->outputs;
  segloss_tensor *views = by_sample ? calloc(all, sizeof *views) : run->views;
  const segloss_tensor *few[FEW], **gradients = all <= FEW ? few : calloc((size_t)run->outputs, sizeof *gradients);
  if (views && gradients) {
    segloss_tensor *targets = views + run->inputs;
    for (int i = 0; i < run->outputs; ++i) gradients[i] = &targets[i];
    for (int64_t step = 0; step < steps; ++step) {
      segloss_tensor factor = *grad_output;
      if (by_sample) {
        factor = sample(grad_output, step);
        factor.rank = 0;
        select_sample(run, count, step, views);
        for (int i = 0; i < run->outputs; ++i) targets[i] = sample(&run->views[run->inputs + i], step);
      }
      if (!succeeded(run,
                     program_gradient(program->data, program->size, views, count,
                                      (const double *)statistics->data + (by_sample ? step * length : 0), length,
                                      &factor, gradients, &error),
                     &error))
        break;
    }
  } else {
    out_of_memory(run);
  }
  if (views != run->views) free(views);
  if (gradients != few) free(gradients);
}

static void compute_gradient(void *program, TF_OpKernelContext *context) {
  Run run;
  begin(&run, context);
  if (!failed(&run)) gradient(&run, program);
  end(&run);
}

/* ---- Shapes: what holds for every program. A shape function cannot read the program, so Python adds the rest. ------ */

static void shapes_of_items(TF_ShapeInferenceContext *context, TF_Status *status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
}

static void shapes_of_loss(TF_ShapeInferenceContext *context, TF_Status *status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
  TF_ShapeHandle *scalar = TF_ShapeInferenceContextScalar(context);
  TF_ShapeInferenceContextSetOutput(context, 0, scalar, status);
  TF_DeleteShapeHandle(scalar);
}

static void shapes_of_samples(TF_ShapeInferenceContext *context, TF_Status *status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
  TF_ShapeHandle *shape = TF_NewShapeHandle();
  TF_ShapeInferenceContextGetInput(context, 0, shape, status);
  if (TF_GetCode(status) == TF_OK && TF_ShapeInferenceContextRank(context, shape) > 0) {
    TF_ShapeInferenceContextSubshape(context, shape, 0, 1, shape, status);
    if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetOutput(context, 0, shape, status);
  }
  TF_DeleteShapeHandle(shape);
}

/* Each gradient has its prediction's shape; the predictions are the first inputs. */
static void shapes_of_gradient(TF_ShapeInferenceContext *context, TF_Status *status) {
  TF_ShapeHandle *shape = TF_NewShapeHandle();
  for (int i = 0; TF_GetCode(status) == TF_OK; ++i) {
    TF_ShapeInferenceContextGetInput(context, i, shape, status);
    if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetOutput(context, i, shape, status);
  }
  TF_SetStatus(status, TF_OK, ""); /* past the last output */
  TF_DeleteShapeHandle(shape);
}

/* ---- Registration ------------------------------------------------------------------------------------------------- */

static char problem[512];

const char *segloss_tensorflow_problem(void) { return *problem ? problem : NULL; }

static void *resolve(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (!found && !*problem) snprintf(problem, sizeof problem, "this TensorFlow has no function %s", name);
  return found;
}

/* The libsegloss of this process, else the one that SEGLOSS_LIBRARY names, else the one beside this file. */
static void *open_segloss(void) {
  void *library = dlopen("libsegloss.so.0", RTLD_NOW | RTLD_NOLOAD);
  if (library) return library;
  const char *chosen = getenv("SEGLOSS_LIBRARY");
  if (chosen && *chosen) return dlopen(chosen, RTLD_NOW);
  Dl_info here;
  if (dladdr((void *)problem, &here) && here.dli_fname) {
    const char *slash = strrchr(here.dli_fname, '/');
    int length = slash ? (int)(slash - here.dli_fname + 1) : 0;
    char path[4096];
    if (snprintf(path, sizeof path, "%.*slibsegloss.so", length, here.dli_fname) < (int)sizeof path)
      library = dlopen(path, RTLD_NOW);
  }
  return library ? library : dlopen("libsegloss.so.0", RTLD_NOW);
}

static bool resolve_all(void) {
  void *tensorflow = dlopen("libtensorflow_framework.so.2", RTLD_NOW | RTLD_NOLOAD);
  if (!tensorflow) tensorflow = RTLD_DEFAULT; /* a server that is linked with it */
#define RESOLVE(result, name, parameters) *(void **)&name = resolve(tensorflow, #name);
  TENSORFLOW(RESOLVE)
  void *segloss = open_segloss();
  if (!segloss) {
    snprintf(problem, sizeof problem, "libsegloss.so could not be loaded: %s", dlerror());
    return false;
  }
  *(void **)&program_outputs = dlsym(segloss, "segloss_program_outputs");
  *(void **)&program_forward = dlsym(segloss, "segloss_program_forward");
  *(void **)&program_gradient = dlsym(segloss, "segloss_program_gradient");
  if (!program_outputs || !program_forward || !program_gradient)
    snprintf(problem, sizeof problem, "the libsegloss.so of this process is older than this library");
  return !*problem;
}

static void register_operation(const char *name, const char *const *attributes, const char *const *inputs,
                               const char *const *outputs, ShapeFunction shapes, Compute compute) {
  TF_Status *status = TF_NewStatus();
  TF_OpDefinitionBuilder *operation = TF_NewOpDefinitionBuilder(name);
  for (; *attributes; ++attributes) TF_OpDefinitionBuilderAddAttr(operation, *attributes);
  for (; *inputs; ++inputs) TF_OpDefinitionBuilderAddInput(operation, *inputs);
  for (; *outputs; ++outputs) TF_OpDefinitionBuilderAddOutput(operation, *outputs);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(operation, shapes);
  TF_RegisterOpDefinition(operation, status);
  if (TF_GetCode(status) == TF_OK)
    TF_RegisterKernelBuilder(name, TF_NewKernelBuilder(name, "CPU", create, compute, delete), status);
  if (TF_GetCode(status) != TF_OK && !*problem)
    snprintf(problem, sizeof problem, "%s could not be registered: %s", name, TF_Message(status));
  TF_DeleteStatus(status);
}

/* TensorFlow lists the operations that are registered while it loads a library. */
__attribute__((constructor)) static void register_operations(void) {
  static const char *const attributes[] = {
      "P: list(type) >= 1", "T: list(type) >= 0", "V: {float, double, half, bfloat16}", "program: string", NULL};
  static const char *const gradient_attributes[] = {
      "P: list(type) >= 1", "T: list(type) >= 0", "G: {float, double, half, bfloat16}", "program: string", NULL};
  static const char *const inputs[] = {"predictions: P", "targets: T", NULL};
  static const char *const gradient_inputs[] = {"predictions: P", "targets: T", "statistics: double",
                                                "grad_output: G", NULL};
  static const char *const outputs[] = {"value: V", "parts: double", "statistics: double", NULL};
  static const char *const gradient_outputs[] = {"gradients: P", NULL};
  if (!resolve_all()) return;
  register_operation("SeglossLoss", attributes, inputs, outputs, shapes_of_loss, compute_batch);
  register_operation("SeglossItems", attributes, inputs, outputs, shapes_of_items, compute_batch);
  register_operation("SeglossSamples", attributes, inputs, outputs, shapes_of_samples, compute_samples);
  register_operation("SeglossGradient", gradient_attributes, gradient_inputs, gradient_outputs, shapes_of_gradient,
                     compute_gradient);
}
