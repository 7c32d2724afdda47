#include "engine/masks.h"

static void masks_answer(struct masks *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        const struct masks_question *q = &m->questions[i];
        *q->answer = q->sink->mask(q->sink->context);
    }
}

static void *masks_thread(void *arg)
{
    struct masks *m = arg;
    pthread_mutex_lock(&m->lock);
    for (;;) {
        while (!m->is_asking && !m->is_closing)
            pthread_cond_wait(&m->changed, &m->lock);
        if (m->is_closing)
            break;
        pthread_mutex_unlock(&m->lock);
        masks_answer(m);
        pthread_mutex_lock(&m->lock);
        m->is_asking = false;
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

bool masks_init(struct masks *m, struct error *err)
{
    *m = (struct masks){0};
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    m->has_thread = !pthread_create(&m->thread, NULL, masks_thread, m);
    if (m->has_thread)
        return true;
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->changed);
    return error_set(err, ERROR_NO_MEMORY, "cannot start the thread that asks for masks");
}

void masks_deinit(struct masks *m)
{
    if (!m->has_thread)
        return;
    pthread_mutex_lock(&m->lock);
    m->is_closing = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->thread, NULL);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->changed);
    *m = (struct masks){0};
}

void masks_add(struct masks *m, const struct engine_sink *sink, const uint64_t **answer)
{
    m->questions[m->n++] = (struct masks_question){sink, answer};
}

void masks_begin(struct masks *m)
{
    if (!m->n)
        return;
    pthread_mutex_lock(&m->lock);
    m->is_asking = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

void masks_end(struct masks *m)
{
    if (!m->n)
        return;
    pthread_mutex_lock(&m->lock);
    while (m->is_asking)
        pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
    m->n = 0;
}
