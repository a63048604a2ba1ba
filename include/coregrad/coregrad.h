#pragma once
// Everything a program needs: lazy tensors, operations, gradients.

#include "coregrad/ops.h"
#include "coregrad/random.h"
#include "coregrad/tensor.h"
