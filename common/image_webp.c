#include "common/picture_decode.h"

#include <webp/decode.h>
#include <webp/demux.h>

static Status fail(const Bytes *file, const char *what)
{
    return status_fail(STATUS_BAD_INPUT, "%s: WebP cannot be read: %s", file->name, what);
}

static const char *reason(VP8StatusCode code)
{
    switch (code) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED: return "the file ends too early";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "it uses what this reader does not know";
    default: return "it is damaged";
    }
}

static Status read_pixels(const Bytes *file, Picture *p)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) return fail(file, "libwebp has another version than its header");
    VP8StatusCode code = WebPGetFeatures(file->data, file->size, &config.input);
    if (code != VP8_STATUS_OK) return fail(file, reason(code));
    if (config.input.has_animation) return fail(file, "it is an animation, expected one picture");
    int w = config.input.width, h = config.input.height;
    if (decode_check_size(w, h) != STATUS_OK) return status_prefix(STATUS_BAD_INPUT, "%s: WebP cannot be read", file->name);
    TRY(picture_init(w, h, config.input.has_alpha ? 4 : 3, 8, p));
    size_t row = (size_t)w * picture_pixel_bytes(p);
    config.output.colorspace = config.input.has_alpha ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = (WebPRGBABuffer){p->values, (int)row, row * (size_t)h};
    code = WebPDecode(file->data, file->size, &config);
    WebPFreeDecBuffer(&config.output);
    if (code == VP8_STATUS_OUT_OF_MEMORY) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", file->name);
    return code == VP8_STATUS_OK ? STATUS_OK : fail(file, reason(code));
}

/* The profile, and upright. */
static Status read_chunks(const Bytes *file, Picture *p)
{
    WebPData data = {file->data, file->size};
    WebPChunkIterator chunk = {0};
    WebPDemuxer *demuxer = WebPDemux(&data);
    Status s = STATUS_OK;
    if (!demuxer) return fail(file, "the file ends too early");
    if (WebPDemuxGetChunk(demuxer, "ICCP", 1, &chunk)) s = picture_set_profile(p, chunk.chunk.bytes, chunk.chunk.size);
    WebPDemuxReleaseChunkIterator(&chunk);
    if (s == STATUS_OK && WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk))
        s = picture_turn(p, exif_orientation(chunk.chunk.bytes, chunk.chunk.size));
    WebPDemuxReleaseChunkIterator(&chunk);
    WebPDemuxDelete(demuxer);
    return s;
}

Status decode_webp(const Bytes *file, const Decoded *out)
{
    Picture p = {0};
    Status s = read_pixels(file, &p);
    if (s == STATUS_OK) s = read_chunks(file, &p);
    if (s == STATUS_OK && out->picture) *out->picture = p;
    else picture_release(&p);
    return s;
}
