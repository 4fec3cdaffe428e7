#include "data/masks.h"

#include <math.h>
#include <stdint.h>

enum { MOST_SHAPES = 4, STROKE_POINTS = 12, DRAWS_PER_SHAPE = 4 + 2 * STROKE_POINTS };

/* Places are shares of the picture's side, so that a mask looks alike at any size. */
typedef struct Canvas {
    float *mask;
    int side;
} Canvas;

static int clamp_pixel(float at, int side)
{
    int pixel = (int)(at * (float)side);
    return pixel < 0 ? 0 : pixel > side ? side : pixel;
}

static void erase_rectangle(Canvas *c, float left, float top, float width, float height)
{
    int x1 = clamp_pixel(left + width, c->side), y1 = clamp_pixel(top + height, c->side);
    for (int y = clamp_pixel(top, c->side); y < y1; y++)
        for (int x = clamp_pixel(left, c->side); x < x1; x++) c->mask[y * c->side + x] = 0;
}

static void erase_disc(Canvas *c, float at_x, float at_y, float radius)
{
    for (int y = clamp_pixel(at_y - radius, c->side); y < clamp_pixel(at_y + radius + 1.0f / (float)c->side, c->side); y++)
        for (int x = clamp_pixel(at_x - radius, c->side); x < clamp_pixel(at_x + radius + 1.0f / (float)c->side, c->side); x++) {
            float dx = ((float)x + 0.5f) / (float)c->side - at_x, dy = ((float)y + 0.5f) / (float)c->side - at_y;
            if (dx * dx + dy * dy <= radius * radius) c->mask[y * c->side + x] = 0;
        }
}

/* A brush that wanders: discs along a path whose direction changes a little at each point. */
static void erase_stroke(Canvas *c, const float *u, float radius)
{
    float x = u[0], y = u[1], direction = 6.2831853f * u[2];
    for (int i = 0; i < STROKE_POINTS; i++) {
        erase_disc(c, x, y, radius);
        direction += 2.5f * (u[3 + i] - 0.5f);
        x += 0.8f * radius * cosf(direction);
        y += 0.8f * radius * sinf(direction);
    }
}

static void draw_shape(Canvas *c, const float *u)
{
    if (u[0] < 0.5f) {
        float width = 0.15f + 0.75f * u[1], height = 0.15f + 0.75f * u[2];
        erase_rectangle(c, u[3] * (1.1f - width) - 0.05f, u[4] * (1.1f - height) - 0.05f, width, height);
    } else {
        erase_stroke(c, u + 2, 0.05f + 0.13f * u[1]);
    }
}

void masks_draw(uint64_t seed, uint32_t step, uint32_t first_row, double unseen, int64_t N, int side, float *mask)
{
    float u[2 + MOST_SHAPES * DRAWS_PER_SHAPE];
    for (int64_t row = 0; row < N; row++) {
        RngKey key = {.seed = seed, .stream = RNG_MASKS, .image = first_row + (uint32_t)row, .step = step};
        Canvas c = {mask + row * side * side, side};
        rng_uniforms(&key, u, sizeof u / sizeof *u);
        for (int64_t i = 0; i < (int64_t)side * side; i++) c.mask[i] = u[0] < unseen ? 0 : 1;
        int shapes = 1 + (int)(u[1] * MOST_SHAPES);
        for (int i = 0; i < shapes && u[0] >= unseen; i++) draw_shape(&c, u + 2 + i * DRAWS_PER_SHAPE);
    }
}
