/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FAULTY_H
#define FAULTY_H

/* What fault=NAME does; a negative errno is what the load or the write fails with. */
struct fault {
	const char *name;
	int (*commit)(void);
};

/* One table for each file, an entry without a name at its end. */
extern const struct fault faulty_traps[];
extern const struct fault faulty_memory[];
extern const struct fault faulty_stack[];
extern const struct fault faulty_context[];
extern const struct fault faulty_locks[];
extern const struct fault faulty_stalls[];
extern const struct fault faulty_undefined[];
extern const struct fault faulty_leftovers[];

/* Set by leak_device: the exit leaves /dev/faulty behind. */
extern bool faulty_forgets_device;

/* End what a fault has started and what may end: called at the end of exit. */
void faulty_stop_thread(void);
void faulty_stop_work(void);

#endif /* FAULTY_H */
