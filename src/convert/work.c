/* See work.h. */
#include "convert/work.h"

#include "base/clock.h"
#include "base/pool.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WORK_SLICE_BYTES = 8 << 20, /* of the output; a row may be longer */
    WORK_ROWS = 16,             /* of a job */
};

/* A slice of a tensor on its way through the threads. */
struct work {
    const struct plan *p;
    const struct plan_tensor *t;
    uint64_t first; /* row of the slice */
    size_t n_rows;
    uint8_t *parts[MATRIX_N_PARTS]; /* [n_rows] rows of each region */
    float **rows;                   /* of each worker: a row of floats */
    atomic_bool is_wrong;           /* a weight is no finite number */

    struct output *out;
    const struct convert_sink *sink;
    struct error *err;
    struct convert_progress progress;
    int64_t begin_ns;
};

/* ---- a row ---- */

/* The piece with a row, whose number becomes the one in the piece. */
static const struct matrix *find_piece(const struct plan_tensor *t, uint64_t *row)
{
    size_t i = 0;
    while (*row >= t->pieces[i].n_rows)
        *row -= t->pieces[i++].n_rows;
    return &t->pieces[i];
}

/* The row need not be decoded: it is in the wanted form. */
static bool is_as_wanted(const struct work *w, const struct matrix *m)
{
    const struct plan_tensor *t = w->t;
    if (m->type != t->type || t->add != 0)
        return false;
    if (quant_traits(t->type)->n_parts == 1)
        return true;
    const bool same_group = m->group == w->p->group || t->type == QUANT_PACKED_MXFP4;
    return same_group && (m->scale == w->p->scale || t->type == QUANT_PACKED_MXFP4);
}

static bool are_finite(const float *x, size_t n)
{
    float sum = 0; /* not finite if one of them is not; it may also overflow */
    for (size_t i = 0; i < n; i++)
        sum += x[i] * 0.0f;
    return sum == 0;
}

static void encode_row(struct work *w, const float *row, uint64_t number, uint8_t *const to[])
{
    const struct plan_tensor *t = w->t;
    const size_t n = (size_t)t->shape[0];
    const float *importance = t->importance ? t->importance + number / t->shape[1] * n : NULL;
    if (t->n_regions == 1) {
        quant_encode(t->type, row, importance, n, to[0]);
        return;
    }
    const struct quant_packed_row out = {t->type, w->p->scale, w->p->group, to[0], to[1], to[2]};
    quant_encode_packed(&out, row, importance, n);
}

static void work_row(struct work *w, uint32_t worker, size_t i)
{
    const struct plan_tensor *t = w->t;
    const uint64_t number = w->first + i;
    const size_t n = (size_t)t->shape[0];
    float *row = w->rows[worker];
    uint8_t *to[MATRIX_N_PARTS];
    for (uint32_t k = 0; k < t->n_regions; k++)
        to[k] = w->parts[k] + i * t->regions[k].row_bytes;
    uint64_t in_piece = plan_source_row(t, number);
    const struct matrix *m = find_piece(t, &in_piece);
    if (is_as_wanted(w, m)) {
        for (uint32_t k = 0; k < t->n_regions; k++)
            memcpy(to[k], matrix_row(m, (enum matrix_part_number)k, (size_t)in_piece),
                   t->regions[k].row_bytes);
        return;
    }
    matrix_decode(m, (size_t)in_piece, row);
    for (size_t k = 0; t->add != 0 && k < n; k++)
        row[k] += t->add;
    if (!are_finite(row, n)) {
        atomic_store(&w->is_wrong, true);
        memset(row, 0, n * sizeof *row);
    }
    encode_row(w, row, number, to);
}

static void work_job(void *context, uint32_t i, uint32_t worker)
{
    struct work *w = context;
    const size_t begin = (size_t)i * WORK_ROWS, left = w->n_rows - begin;
    const size_t end = begin + (left < WORK_ROWS ? left : WORK_ROWS);
    for (size_t row = begin; row < end; row++)
        work_row(w, worker, row);
}

/* ---- a tensor ---- */

static bool work_tell(struct work *w, uint64_t n_more)
{
    const double seconds = (double)(clock_now_ns() - w->begin_ns) / 1e9;
    w->progress.n_done += n_more;
    w->progress.bytes_per_second = seconds > 0 ? (double)w->progress.n_done / seconds : 0;
    w->progress.tensor = w->t ? w->t->name : "";
    if (w->sink && w->sink->progress)
        w->sink->progress(w->sink->context, &w->progress);
    if (w->sink && w->sink->stopped && w->sink->stopped(w->sink->context))
        return error_set(w->err, ERROR_CANCELLED, "stopped");
    return true;
}

static bool work_raw(struct work *w)
{
    const struct plan_tensor *t = w->t;
    const uint8_t *from = t->raw;
    for (uint64_t done = 0; done < t->n_raw;) {
        const uint64_t left = t->n_raw - done;
        const size_t n = left < WORK_SLICE_BYTES ? (size_t)left : WORK_SLICE_BYTES;
        if (!output_write(w->out, t->regions[0].file, from + done, n, t->regions[0].at + done,
                          w->err) ||
            !work_tell(w, n))
            return false;
        done += n;
    }
    return true;
}

static bool work_slice(struct work *w, struct pool *pool)
{
    const struct plan_tensor *t = w->t;
    uint64_t n_bytes = 0;
    pool_run(pool, (uint32_t)((w->n_rows + WORK_ROWS - 1) / WORK_ROWS), work_job, w);
    if (atomic_load(&w->is_wrong))
        return error_set(w->err, ERROR_FORMAT, "tensor %.72s has a weight that is no finite number",
                         t->name);
    for (uint32_t k = 0; k < t->n_regions; k++) {
        const struct plan_region *r = &t->regions[k];
        const size_t n = w->n_rows * (size_t)r->row_bytes;
        if (!output_write(w->out, r->file, w->parts[k], n, r->at + w->first * r->row_bytes,
                          w->err))
            return false;
        n_bytes += n;
    }
    weights_forget(w->p->w);
    return work_tell(w, n_bytes);
}

static uint64_t row_bytes(const struct plan_tensor *t)
{
    uint64_t n = 0;
    for (uint32_t k = 0; k < t->n_regions; k++)
        n += t->regions[k].row_bytes;
    return n;
}

static uint64_t slice_rows(const struct plan_tensor *t)
{
    const uint64_t n = row_bytes(t) ? WORK_SLICE_BYTES / row_bytes(t) : 1;
    const uint64_t n_rows = plan_n_rows(t);
    return n > n_rows ? n_rows : n ? n : 1;
}

static bool work_tensor(struct work *w, struct pool *pool, const struct plan_tensor *t)
{
    const uint64_t n_rows = plan_n_rows(t), n_slice = slice_rows(t);
    w->t = t;
    if (t->raw)
        return work_raw(w);
    for (w->first = 0; w->first < n_rows; w->first += n_slice) {
        w->n_rows = (size_t)(n_rows - w->first < n_slice ? n_rows - w->first : n_slice);
        if (!work_slice(w, pool))
            return false;
    }
    return true;
}

/* ---- all ---- */

/* Room for the longest row of floats, and for the largest slice, of all tensors. */
static bool work_reserve(struct work *w, size_t n_workers)
{
    size_t n_row = 1, n_part[MATRIX_N_PARTS] = {1, 1, 1, 1};
    for (size_t i = 0; i < w->p->n_tensors; i++) {
        const struct plan_tensor *t = &w->p->tensors[i];
        n_row = t->shape[0] > n_row ? (size_t)t->shape[0] : n_row;
        for (uint32_t k = 0; !t->raw && k < t->n_regions; k++) {
            const size_t n = (size_t)(slice_rows(t) * t->regions[k].row_bytes);
            n_part[k] = n > n_part[k] ? n : n_part[k];
        }
    }
    bool ok = (w->rows = calloc(n_workers, sizeof *w->rows)) != NULL;
    for (size_t i = 0; ok && i < n_workers; i++)
        ok = (w->rows[i] = malloc(n_row * sizeof(float))) != NULL;
    for (int k = 0; ok && k < MATRIX_N_PARTS; k++)
        ok = (w->parts[k] = malloc(n_part[k])) != NULL;
    return ok || error_set(w->err, ERROR_NO_MEMORY, "out of memory for rows of %zu", n_row);
}

static bool work_files(struct work *w)
{
    for (size_t i = 0; i < w->p->n_files; i++) {
        const struct plan_file *file = &w->p->files[i];
        if (!output_add_file(w->out, file->name, file->size, w->err) ||
            !output_write(w->out, i, file->head.data, file->head.len, 0, w->err))
            return false;
        w->progress.n_done += file->head.len;
    }
    return true;
}

/* One thread alone where the system gives no more. */
static struct pool *work_pool(const struct plan *p, struct error *err)
{
    const long n = p->n_threads ? (long)p->n_threads : sysconf(_SC_NPROCESSORS_ONLN);
    struct pool *pool = n > 1 ? pool_create((uint32_t)n, false, NULL) : NULL;
    return pool ? pool : pool_create(1, false, err);
}

bool work_do(const struct plan *p, struct output *out, const struct convert_sink *sink,
             struct error *err)
{
    struct work w = {.p = p, .out = out, .sink = sink, .err = err, .begin_ns = clock_now_ns()};
    w.progress.n_total = p->n_bytes;
    atomic_init(&w.is_wrong, false);
    struct pool *pool = work_pool(p, err);
    bool ok = pool && work_reserve(&w, pool_n_threads(pool)) && work_files(&w);
    for (size_t i = 0; ok && i < p->n_tensors; i++)
        ok = work_tensor(&w, pool, &p->tensors[i]);
    for (size_t i = 0; w.rows && i < pool_n_threads(pool); i++)
        free(w.rows[i]);
    for (int k = 0; k < MATRIX_N_PARTS; k++)
        free(w.parts[k]);
    free(w.rows);
    pool_destroy(pool);
    return ok;
}
