/* Plays a state that benchmarks/on_arm.py laid out, on AArch64, and writes what comes out.

   The folder given holds the kernel's arrays as they lie in memory (header, weights, ints, floats),
   levels to feed (fed), and a list of calls (ops): "hit LANE ROLE VELOCITY", "run SAMPLES",
   "force SAMPLES OUTPUTS". The kernel's functions are linked to this. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t word;
void kernel_run(word, word, word, word, word, word, word, word);
void kernel_prewarm(word, word, word, word);
void kernel_hit(word, word, word, word, word, double);
void kernel_step(word, word, word, word, word);
void kernel_add_product(word, word, word, word, word, word);

static void *read_whole(const char *folder, const char *name) {
  char path[400];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "rb");
  if (!file) { perror(path); exit(1); }
  fseek(file, 0, SEEK_END);
  long size = ftell(file);
  rewind(file);
  void *memory = aligned_alloc(4096, (size / 4096 + 1) * 4096);
  if (fread(memory, 1, size, file) != (size_t)size) { perror(path); exit(1); }
  ((char *)memory)[size] = 0;
  fclose(file);
  return memory;
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  const char *folder = arguments[1];
  word header = (word)read_whole(folder, "header"), weights = (word)read_whole(folder, "weights");
  word *ints = read_whole(folder, "ints");
  word state = (word)ints, floats = (word)read_whole(folder, "floats");
  word fed = (word)read_whole(folder, "fed");
  word lanes = ints[LANES_AT];
  ints[PRODUCT_AT] = (word)kernel_add_product;
  ints[STEP_AT] = (word)kernel_step;
  kernel_prewarm(header, weights, state, floats);
  char path[400];
  snprintf(path, sizeof path, "%s/out", folder);
  FILE *out = fopen(path, "wb");
  char *ops = read_whole(folder, "ops");
  for (char *line = strtok(ops, "\n"); line; line = strtok(NULL, "\n")) {
    long a, b;
    double velocity;
    if (sscanf(line, "hit %ld %ld %lf", &a, &b, &velocity) == 3) {
      kernel_hit(header, state, floats, a, b, velocity);
    } else if (sscanf(line, "run %ld", &a) == 1) {
      float *made = calloc(lanes * a, sizeof *made);
      kernel_run(header, weights, state, floats, a, (word)made, 0, 0);
      fwrite(made, sizeof *made, lanes * a, out);
    } else if (sscanf(line, "force %ld %ld", &a, &b) == 2) {
      float *made = calloc(lanes * a * b, sizeof *made);
      kernel_run(header, weights, state, floats, a, 0, fed, (word)made);
      fwrite(made, sizeof *made, lanes * a * b, out);
    } else {
      return 3;
    }
  }
  return fclose(out);
}

/* What the compiled entries refer to for when they are called by Python, which is not here. */
#define ABSENT(name) void name(void) { fputs(#name "\n", stderr); abort(); }
ABSENT(NRT_Free) ABSENT(NRT_MemInfo_call_dtor) ABSENT(PyArg_UnpackTuple)
ABSENT(PyBytes_FromStringAndSize) ABSENT(PyErr_Clear) ABSENT(PyErr_Occurred) ABSENT(PyErr_SetNone)
ABSENT(PyErr_SetString) ABSENT(PyErr_WriteUnraisable) ABSENT(PyEval_RestoreThread)
ABSENT(PyEval_SaveThread) ABSENT(PyFloat_AsDouble) ABSENT(PyLong_AsLongLong) ABSENT(PyNumber_Float)
ABSENT(PyNumber_Long) ABSENT(PyUnicode_FromString) ABSENT(Py_DecRef) ABSENT(Py_IncRef)
ABSENT(absent_atomic_sub) ABSENT(numba_do_raise) ABSENT(numba_gil_ensure) ABSENT(numba_gil_release)
ABSENT(numba_runtime_build_excinfo_struct) ABSENT(numba_unpickle)
long PyExc_RuntimeError, PyExc_StopIteration, PyExc_SystemError, _Py_NoneStruct;

/* Of contiguous arrays, as all here are. */
int numba_attempt_nocopy_reshape(word dims, const word *shape, const word *strides, word new_dims,
                                 const word *new_shape, word *new_strides, word size, int fortran) {
  for (word i = new_dims - 1; i >= 0; i--) {
    new_strides[i] = size;
    size *= new_shape[i];
  }
  return 1;
}
