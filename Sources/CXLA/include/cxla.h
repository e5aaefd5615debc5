/* What a handler of XLA's foreign function interface sees: the call frame of the typed FFI, version 0.1 to 0.3, as far
   as ours read it. XLA's own header (xla/ffi/api/c_api.h in jaxlib) promises this layout; test_jax.py holds these structs to
   it, field by field. Names are XLA's without the prefix XLA_FFI_. */
#ifndef CXLA_H
#define CXLA_H

#include <stddef.h>
#include <stdint.h>

enum { CXLA_VERSION_MAJOR = 0, CXLA_VERSION_MINOR = 3 };
enum { CXLA_EXTENSION_METADATA = 1 };
enum { CXLA_STAGE_EXECUTE = 3 };
enum { CXLA_BUFFER = 1 };        /* of arguments and results */
enum { CXLA_ATTRIBUTE_ARRAY = 1 };
enum { CXLA_INVALID_ARGUMENT = 3, CXLA_RESOURCE_EXHAUSTED = 8, CXLA_FAILED_PRECONDITION = 9 };

enum {
  CXLA_PRED = 1,
  CXLA_S32 = 4,
  CXLA_S64 = 5,
  CXLA_U8 = 6,
  CXLA_U32 = 8,
  CXLA_F16 = 10,
  CXLA_F32 = 11,
  CXLA_F64 = 12,
  CXLA_BF16 = 16
};

typedef struct cxla_extension {
  size_t struct_size;
  int32_t type;
  struct cxla_extension *next;
} cxla_extension;

typedef struct cxla_api_version {
  size_t struct_size;
  cxla_extension *extension_start;
  int32_t major_version;
  int32_t minor_version;
} cxla_api_version;

typedef struct cxla_error cxla_error;

typedef struct cxla_error_create_args {
  size_t struct_size;
  cxla_extension *extension_start;
  const char *message;
  int32_t errc;
} cxla_error_create_args;

/* The runtime's own count of these bytes, without the padding. */
static const size_t cxla_error_create_size = offsetof(cxla_error_create_args, errc) + sizeof(int32_t);

/* The first of the runtime's functions; more follow it. */
typedef struct cxla_api {
  size_t struct_size;
  cxla_extension *extension_start;
  cxla_api_version api_version;
  const void *internal_api;
  cxla_error *(*error_create)(cxla_error_create_args *args);
} cxla_api;

/* Dense, row-major. */
typedef struct cxla_buffer {
  size_t struct_size;
  cxla_extension *extension_start;
  int32_t dtype;
  void *data;
  int64_t rank;
  int64_t *dims;
} cxla_buffer;

typedef struct cxla_array {
  int32_t dtype;
  size_t size;
  void *data;
} cxla_array;

/* Arguments, and likewise results. */
typedef struct cxla_buffers {
  size_t struct_size;
  cxla_extension *extension_start;
  int64_t size;
  int32_t *types;
  void **values;
} cxla_buffers;

typedef struct cxla_attributes {
  size_t struct_size;
  cxla_extension *extension_start;
  int64_t size;
  int32_t *types;
  void **names;
  void **values;
} cxla_attributes;

typedef struct cxla_call_frame {
  size_t struct_size;
  cxla_extension *extension_start;
  const cxla_api *api;
  void *context;
  int32_t stage;
  cxla_buffers arguments;
  cxla_buffers results;
  cxla_attributes attributes;
} cxla_call_frame;

typedef struct cxla_metadata {
  size_t struct_size;
  cxla_api_version api_version;
  uint32_t traits;
  int64_t state_type_id;
} cxla_metadata;

typedef struct cxla_metadata_extension {
  cxla_extension base;
  cxla_metadata *metadata;
} cxla_metadata_extension;

#endif
