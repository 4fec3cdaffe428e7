#include "tests/support_judge.h"

#include "tests/support_status.h"

static const char merges[] = "#version: 0.2\nr e\nre d\n\xc4\xa0 a\n";

Judge *small_judge(void)
{
    JudgeConfig c;
    Judge *j;
    judge_config_defaults(&c);
    c.image_size = SMALL_JUDGE_SIDE;
    c.levels = 3;
    c.channels[0] = c.channels[1] = 32;
    c.channels[2] = 64;
    c.n_vocab = 256 + 3 + 1;
    OK(judge_new(&c, false, &j));
    OK(bpe_from_text(merges, strlen(merges), &j->bpe));
    params_randomize(&j->params, 5);
    return j;
}

void write_judge(const Judge *j, const char *path)
{
    H5File *f;
    OK(weights_create(path, JUDGE_KIND, &f));
    OK(judge_write_header(f, j));
    OK(weights_write_params(f, &j->params, H5KIND_F32));
    OK(h5file_commit(f));
}
