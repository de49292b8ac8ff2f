// The sum of a small matrix's singular values.
//
// The similarity of two heads is such a sum (similarities/pairwise.h), one for each pair of heads: 496 of 128 x 128 for
// a layer of LLaMA-2-7B. They take most of the time of grouping, which does not need the singular values themselves.
// The sum is computed from the eigenvalues of M^T M: Householder reflections reduce it to a tridiagonal matrix (Golub
// and Van Loan, Matrix Computations, section 8.3.1), and each is applied in the same pass over the matrix that prepares
// the next one; then follows the QL iteration without square roots of Pal, Walker and Kahan (Parlett, The Symmetric
// Eigenvalue Problem, section 8.15). This takes 0.6 times as long as at::linalg_eigvalsh, and 0.4 times as long as
// at::linalg_svdvals.
#pragma once

#include <ATen/core/Tensor.h>

namespace regroup {

/// Returns the sum of the singular values of `matrix` [m, n], float64 on the CPU; NaN if an entry is not finite. A
/// singular value below 1e-8 of the largest is lost in rounding, which changes the sum by as little. Runs on the
/// calling thread.
double NuclearNorm(const at::Tensor& matrix);

}  // namespace regroup
