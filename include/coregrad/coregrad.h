#pragma once
// Everything a program needs: lazy tensors, operations, gradients.

#include "coregrad/checkpoint.h"
#include "coregrad/clip_grad.h"
#include "coregrad/compiled_function.h"
#include "coregrad/data.h"
#include "coregrad/functional.h"
#include "coregrad/nn.h"
#include "coregrad/ops.h"
#include "coregrad/optim.h"
#include "coregrad/random.h"
#include "coregrad/tensor.h"
