// The sum of a small matrix's singular values.
//
// How alike two heads can be made is such a sum (similarities/pairwise.h), one for each pair of heads: 496 of 128 x 128
// for a layer of LLaMA-2-7B. They are most of what grouping takes, and singular values themselves are not asked for.
// So: the eigenvalues of M^T M, by Householder reflections to a tridiagonal matrix (Golub and Van Loan, Matrix
// Computations, section 8.3.1), each of which is applied in the same pass over the matrix that prepares the next one,
// and by the QL iteration without square roots of Pal, Walker and Kahan (Parlett, The Symmetric Eigenvalue Problem,
// section 8.15). 0.6 times as long as at::linalg_eigvalsh, 0.4 times as long as at::linalg_svdvals.
#pragma once

#include <ATen/core/Tensor.h>

namespace regroup {

/// Sum of the singular values of `matrix` [m, n], float64 on the CPU; NaN if an entry is not finite. A singular value
/// below 1e-8 of the largest is lost in rounding, which changes the sum by as little. Runs on the calling thread.
double NuclearNorm(const at::Tensor& matrix);

}  // namespace regroup
