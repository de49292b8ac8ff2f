// libcuda.so.1, of which libtorch asks one thing: whether a GPU is in use by this process.
extern "C" {

int cuDevicePrimaryCtxGetState(int /*device*/, unsigned* flags, int* active) {
  *flags = 0;
  *active = 1;
  return 0;
}

}  // extern "C"
