/* The handlers of the table of routes. */
#ifndef GLIDE_SERVE_FACES_H
#define GLIDE_SERVE_FACES_H

#include "common/image.h"
#include "glide/serve/serve_http.h"

/* X(method, path, face, large, open, handler) */
#define SERVE_ROUTES(X)                                                                   \
    X("GET", "/", OWN, false, false, own_page)                                                    \
    X("GET", "/openapi.json", OWN, false, false, own_openapi)                                     \
    X("GET", "/api/server", OWN, false, false, own_server)                                        \
    X("GET", "/api/models", OWN, false, false, own_models)                                        \
    X("GET", "/api/samplers", OWN, false, false, own_samplers)                                    \
    X("GET", "/api/guidance", OWN, false, false, own_guidance)                                    \
    X("GET", "/api/timesteps", OWN, false, false, own_timesteps)                                  \
    X("GET", "/api/events", OWN, false, false, own_events)                                        \
    X("GET", "/api/jobs", OWN, false, false, own_list)                                            \
    X("POST", "/api/jobs", OWN, true, false, own_create)                                          \
    X("GET", "/api/jobs/{id}", OWN, false, false, own_job)                                        \
    X("DELETE", "/api/jobs/{id}", OWN, false, false, own_cancel)                                  \
    X("GET", "/api/jobs/{id}/events", OWN, false, false, own_job_events)                          \
    X("POST", "/api/jobs/{id}/guidance", OWN, false, false, own_change)                           \
    X("POST", "/api/jobs/{id}/branch", OWN, false, false, own_branch)                             \
    X("GET", "/api/jobs/{id}/pictures/{index}", OWN, false, false, own_picture)                   \
    X("GET", "/api/jobs/{id}/steps/{step}", OWN, false, false, own_step)                          \
    X("POST", "/api/recipes", OWN, true, false, own_recipe)                                       \
    X("GET", "/api/gallery", OWN, false, false, own_gallery)                                      \
    X("GET", "/api/gallery/{name}", OWN, false, false, own_gallery_picture)                       \
    X("DELETE", "/api/gallery/{name}", OWN, false, false, own_gallery_remove)                     \
    X("GET", "/api/gallery/{name}/recipe", OWN, false, false, own_gallery_recipe)                 \
    X("GET", "/api/comparisons", OWN, false, false, own_comparisons)                              \
    X("POST", "/api/comparisons", OWN, false, false, own_compare)                                 \
    X("GET", "/v1/models", OPENAI, false, false, openai_models)                                   \
    X("GET", "/v1/models/{name}", OPENAI, false, false, openai_model)                             \
    X("POST", "/v1/images/generations", OPENAI, false, false, openai_generate)                    \
    X("POST", "/v1/images/edits", OPENAI, true, false, openai_edit)                               \
    X("POST", "/sdapi/v1/txt2img", A1111, true, false, a1111_txt2img)                             \
    X("POST", "/sdapi/v1/img2img", A1111, true, false, a1111_img2img)                             \
    X("POST", "/sdapi/v1/extra-single-image", A1111, true, false, a1111_extra)                    \
    X("GET", "/sdapi/v1/progress", A1111, false, false, a1111_progress)                           \
    X("POST", "/sdapi/v1/interrupt", A1111, false, false, a1111_interrupt)                        \
    X("GET", "/sdapi/v1/samplers", A1111, false, false, a1111_samplers)                           \
    X("GET", "/sdapi/v1/options", A1111, false, false, a1111_options)                             \
    X("POST", "/sdapi/v1/options", A1111, false, false, a1111_set_options)                        \
    X("GET", "/sdapi/v1/sd-models", A1111, false, false, a1111_models)                            \
    X("GET", "/sdapi/v1/upscalers", A1111, false, false, a1111_upscalers)                         \
    X("POST", "/sdapi/v1/extra-batch-images", A1111, true, false, a1111_extra_batch)              \
    X("POST", "/sdapi/v1/skip", A1111, false, false, a1111_interrupt)                             \
    X("GET", "/sdapi/v1/schedulers", A1111, false, false, a1111_schedulers)                       \
    X("POST", "/sdapi/v1/refresh-checkpoints", A1111, false, false, a1111_refresh)                \
    X("GET", "/sdapi/v1/cmd-flags", A1111, false, false, a1111_flags)                             \
    X("GET", "/sdapi/v1/memory", A1111, false, false, a1111_memory)                               \
    X("GET", "/sdapi/v1/embeddings", A1111, false, false, a1111_embeddings)                       \
    X("GET", "/sdapi/v1/scripts", A1111, false, false, a1111_scripts)                             \
    X("GET", "/sdapi/v1/face-restorers", A1111, false, false, a1111_nothing)                      \
    X("GET", "/sdapi/v1/hypernetworks", A1111, false, false, a1111_nothing)                       \
    X("GET", "/sdapi/v1/realesrgan-models", A1111, false, false, a1111_nothing)                   \
    X("GET", "/sdapi/v1/prompt-styles", A1111, false, false, a1111_nothing)                       \
    X("GET", "/sdapi/v1/loras", A1111, false, false, a1111_nothing)                               \
    X("GET", "/sdapi/v1/sd-vae", A1111, false, false, a1111_nothing)                              \
    X("GET", "/sdapi/v1/latent-upscale-modes", A1111, false, false, a1111_nothing)                \
    X("GET", "/sdapi/v1/script-info", A1111, false, false, a1111_nothing)                         \
    X("POST", "/sdapi/v1/png-info", A1111, true, false, a1111_png_info)

#define SERVE_DECLARE(method, path, face, large, open, handler) void handler(Request *r, Reply *out);
SERVE_ROUTES(SERVE_DECLARE)
#undef SERVE_DECLARE

/* --- what faces share: face_common.c --- */
/* The body, a JSON object. NULL: *out says why not, 422. */
json_t *face_object(Request *r, Reply *out);
/* Queues the request (taken over in any case). NULL: *out says why not, 503 when the queue is full. */
Job *face_add(Request *r, JobRequest *request, Reply *out);
/* Queues it and waits until it is over; a client that goes away cancels it. True: done, and *job is the caller's reference. */
bool face_run(Request *r, JobRequest *request, Job **job, Reply *out);
/* The same in two steps: whatever came of it; and the refusal of one that failed, whose reference is given back. */
bool face_wait(Request *r, JobRequest *request, Job **job, Reply *out);
void face_failed(Request *r, Job *job, Reply *out);
/* Copy of a finished picture; free(). */
unsigned char *face_picture(Jobs *q, const Job *job, int index, size_t *size);
/* Copy of the first picture of the latest frame, with the queue's lock held; empty: none yet. And a PNG of it in base64, or null,
 * which releases it. */
Image face_frame(const Job *job);
json_t *face_encode(Image *image);
/* Its recipe: lines as an object, the text that A1111-style tools read (""), and what asks for it again. */
json_t *face_recipe(const unsigned char *png, size_t size, Reply *out);

#endif
