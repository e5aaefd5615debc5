#ifndef SEGLOSS_TENSORFLOW_OPS_H
#define SEGLOSS_TENSORFLOW_OPS_H

/* Why this library registered no operations when it was loaded, or NULL if it did. Never freed. */
__attribute__((visibility("default"))) const char *segloss_tensorflow_problem(void);

#endif
