// Lets std::unique_ptr hold an object of a C library: std::unique_ptr<BIO, Freer<BIO_free_all>>.
#pragma once

namespace regroup {

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

}  // namespace regroup
