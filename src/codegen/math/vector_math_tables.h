#pragma once
// Minimax coefficients, lowest power first. Written by tools/minimax.py: do not edit.

// clang-format off
namespace coregrad::tables {

/// (exp(r) - 1 - r) / r^2; relative error 2^-27.6.
inline constexpr double kExpF32[] = {
    0x1.fffffcp-2,
    0x1.55548ap-3,
    0x1.555918p-5,
    0x1.123fbep-7,
    0x1.6a1a3ep-10,
};

/// (exp(r) - 1 - r) / r^2; relative error 2^-59.9.
inline constexpr double kExpF64[] = {
    0x1p-1,
    0x1.555555555555cp-3,
    0x1.55555555554fap-5,
    0x1.111111110e962p-7,
    0x1.6c16c16c3266ep-10,
    0x1.a01a01b4aa0dfp-13,
    0x1.a01a013003b2fp-16,
    0x1.71dded2ad9538p-19,
    0x1.27e5bbf460ef8p-22,
    0x1.af711def84281p-26,
    0x1.1e3949d1d0cf5p-29,
};

/// (2^r - 1) / r; relative error 2^-25.8.
inline constexpr double kExp2F32[] = {
    0x1.62e43p-1,
    0x1.ebfbdcp-3,
    0x1.c6aed8p-5,
    0x1.3b2d6ap-7,
    0x1.5f46f6p-10,
    0x1.41f4eap-13,
};

/// (2^r - 1) / r; relative error 2^-55.6.
inline constexpr double kExp2F64[] = {
    0x1.62e42fefa39efp-1,
    0x1.ebfbdff82c58fp-3,
    0x1.c6b08d704a0d1p-5,
    0x1.3b2ab6fba4e19p-7,
    0x1.5d87fe78a217dp-10,
    0x1.430912f885bp-13,
    0x1.ffcbfc7690cfbp-17,
    0x1.62c021dd346b7p-20,
    0x1.b524d975ed15bp-24,
    0x1.e4d07767ef7a5p-28,
    0x1.ea0785b2caca9p-32,
    0x1.c2ca69102abdep-36,
};

/// (log(1 + f) - f) / f^2; relative error 2^-27.6.
inline constexpr double kLogF32[] = {
    -0x1.fffff8p-2,
    0x1.55555p-2,
    -0x1.000426p-2,
    0x1.99a3f2p-3,
    -0x1.54277cp-3,
    0x1.2271c6p-3,
    -0x1.0f36fap-3,
    0x1.0846fep-3,
    -0x1.382edp-4,
};

/// (log(1 + f) - f) / f^2; relative error 2^-56.5.
inline constexpr double kLogF64[] = {
    -0x1p-1,
    0x1.5555555555571p-2,
    -0x1.ffffffffffd4ap-3,
    0x1.9999999994056p-3,
    -0x1.55555555734dfp-3,
    0x1.24924927b1ed3p-3,
    -0x1.fffffff0657f9p-4,
    0x1.c71c700bc9173p-4,
    -0x1.99999af2a0f9ap-4,
    0x1.745d5cd59639ep-4,
    -0x1.55557379e2b4cp-4,
    0x1.3b0d30bb37902p-4,
    -0x1.24893820f9f17p-4,
    0x1.116cf83796b8fp-4,
    -0x1.00d2df1ae8a59p-4,
    0x1.dc7641512aa82p-5,
    -0x1.b4225952507e2p-5,
    0x1.bbf54c5c49e5fp-5,
    -0x1.016de0be7ac51p-4,
    0x1.d2dc618272932p-5,
    -0x1.8cff4cce8d846p-6,
};

/// log2(1 + f) / f - 1; relative error 2^-25.7.
inline constexpr double kLog2F32[] = {
    0x1.c551dap-2,
    -0x1.71547p-1,
    0x1.ec7096p-2,
    -0x1.715a76p-2,
    0x1.277e36p-2,
    -0x1.eabc8cp-3,
    0x1.a305c4p-3,
    -0x1.874bcep-3,
    0x1.7d4874p-3,
    -0x1.c2592cp-4,
};

/// log2(1 + f) / f - 1; relative error 2^-54.7.
inline constexpr double kLog2F64[] = {
    0x1.c551d94ae0bf8p-2,
    -0x1.71547652b82ffp-1,
    0x1.ec709dc3a0438p-2,
    -0x1.71547652b80aap-2,
    0x1.2776c50ef4e4p-2,
    -0x1.ec709dc3d02c1p-3,
    0x1.a61762acbd51p-3,
    -0x1.71547646c2ceap-3,
    0x1.484b127e46a2fp-3,
    -0x1.2776c60b6af1fp-3,
    0x1.0c9ab98487adap-3,
    -0x1.ec70cd631baaap-4,
    0x1.c6859b7c9874ep-4,
    -0x1.a609c604ff6adp-4,
    0x1.8a7b90bed203fp-4,
    -0x1.728c317f1eeep-4,
    0x1.57a31a253f413p-4,
    -0x1.3a673f4055ffp-4,
    0x1.4045aa30eccddp-4,
    -0x1.73eecc5adf1d4p-4,
    0x1.5140161a45f11p-4,
    -0x1.1e769e4168868p-5,
};

/// log10(1 + f) / f - 1/2; relative error 2^-25.9.
inline constexpr double kLog10F32[] = {
    -0x1.0d213ap-4,
    -0x1.bcb7aap-3,
    0x1.287a72p-3,
    -0x1.bcbeeap-4,
    0x1.63cf1ep-4,
    -0x1.2773ecp-4,
    0x1.f88dacp-5,
    -0x1.d72adep-5,
    0x1.cb1c4ap-5,
    -0x1.0f23p-5,
};

/// log10(1 + f) / f - 1/2; relative error 2^-56.4.
inline constexpr double kLog10F64[] = {
    -0x1.0d213ab646bc7p-4,
    -0x1.bcb7b1526e50fp-3,
    0x1.287a7636f4382p-3,
    -0x1.bcb7b1526e24p-4,
    0x1.63c627751f33bp-4,
    -0x1.287a763711102p-4,
    0x1.fc3fa61b282ap-5,
    -0x1.bcb7b144080c2p-5,
    0x1.8b4df153f2115p-5,
    -0x1.63c628a51d8abp-5,
    0x1.436e92230b8d6p-5,
    -0x1.287a92e2f5224p-5,
    0x1.11a64294decccp-5,
    -0x1.fc2f4229bf238p-6,
    0x1.db01254046035p-6,
    -0x1.be2f0deaf617p-6,
    0x1.9dc7c310991a3p-6,
    -0x1.7a944d7414a44p-6,
    0x1.81a564cdf7ce3p-6,
    -0x1.bfda0a8e22f99p-6,
    0x1.961701bc9edd8p-6,
    -0x1.58efadde9663ep-7,
};

/// (sin(r) - r) / r^3 in z = r^2; relative error 2^-27.1.
inline constexpr double kSinF32[] = {
    -0x1.555542p-3,
    0x1.11063p-7,
    -0x1.98e9f4p-13,
};

/// (sin(r) - r) / r^3 in z = r^2; relative error 2^-57.0.
inline constexpr double kSinF64[] = {
    -0x1.5555555555555p-3,
    0x1.1111111111109p-7,
    -0x1.a01a01a018437p-13,
    0x1.71de3a52b105ap-19,
    -0x1.ae6451e913088p-26,
    0x1.6120249bfc0ecp-33,
    -0x1.aa6f6ac8f472cp-41,
};

/// (cos(r) - 1 + r^2/2) / r^4 in z = r^2; relative error 2^-31.6.
inline constexpr double kCosF32[] = {
    0x1.555548p-5,
    -0x1.6c0b1p-10,
    0x1.9998fap-16,
};

/// (cos(r) - 1 + r^2/2) / r^4 in z = r^2; relative error 2^-59.3.
inline constexpr double kCosF64[] = {
    0x1.5555555555555p-5,
    -0x1.6c16c16c16c0dp-10,
    0x1.a01a01a018732p-16,
    -0x1.27e4fb758e1c9p-22,
    0x1.1eed8c2a5847cp-29,
    -0x1.9392b2c1cb594p-37,
    0x1.aa8b2bfdaa9c3p-45,
};

/// (asin(x) - x) / x^3 in z = x^2; relative error 2^-28.1.
inline constexpr double kAsinF32[] = {
    0x1.555526p-3,
    0x1.33495cp-4,
    0x1.6a55c2p-5,
    0x1.16b344p-5,
    0x1.b822dp-8,
    0x1.8533e4p-5,
};

/// (asin(x) - x) / x^3 in z = x^2; relative error 2^-56.9.
inline constexpr double kAsinF64[] = {
    0x1.55555555554d8p-3,
    0x1.3333333344605p-4,
    0x1.6db6db607d318p-5,
    0x1.f1c721956c2bfp-6,
    0x1.6e8b0bae8093cp-6,
    0x1.1c59fc5151586p-6,
    0x1.c87844a75d2eap-7,
    0x1.84bb8d6bb8706p-7,
    0x1.fceb7b514bdfbp-8,
    0x1.1e68da9b31492p-6,
    -0x1.62be1ddfa4a8ap-6,
    0x1.18d5e4b2a915p-4,
    -0x1.3a271d2845dbbp-4,
    0x1.e9d3b400be072p-5,
};

/// (atan(x) - x) / x^3 in z = x^2; relative error 2^-27.0.
inline constexpr double kAtanF32[] = {
    -0x1.55553ep-2,
    0x1.9991fep-3,
    -0x1.2421cp-3,
    0x1.c09a7ap-4,
    -0x1.583608p-4,
    0x1.dacefep-5,
    -0x1.fedba2p-6,
    0x1.65b164p-7,
    -0x1.d6439ap-10,
};

/// the same for |x| <= tan(pi/8); relative error 2^-57.4.
inline constexpr double kAtanF64[] = {
    -0x1.555555555553cp-2,
    0x1.999999999572fp-3,
    -0x1.24924922a6388p-3,
    0x1.c71c70e367325p-4,
    -0x1.745cf89286724p-4,
    0x1.3b11141892bacp-4,
    -0x1.10eb804030f78p-4,
    0x1.df0c26321d913p-5,
    -0x1.9cc4b35562c56p-5,
    0x1.37b23782d46c1p-5,
    -0x1.251d1efd427c6p-6,
};

/// (sinh(x) - x) / x^3 in z = x^2; relative error 2^-27.5.
inline constexpr double kSinhF32[] = {
    0x1.555556p-3,
    0x1.111134p-7,
    0x1.9ffe94p-13,
    0x1.7a158ep-19,
};

/// (sinh(x) - x) / x^3 in z = x^2; relative error 2^-56.8.
inline constexpr double kSinhF64[] = {
    0x1.5555555555555p-3,
    0x1.1111111111111p-7,
    0x1.a01a01a019fc1p-13,
    0x1.71de3a5573f7bp-19,
    0x1.ae6456741b5c9p-26,
    0x1.61246afa51cd8p-33,
    0x1.ae756e8150e19p-41,
    0x1.9a7946e9bdb1ap-49,
};

/// (tanh(x) - x) / x^3 in z = x^2; relative error 2^-26.3.
inline constexpr double kTanhF32[] = {
    -0x1.55552ep-2,
    0x1.110646p-3,
    -0x1.b81daep-5,
    0x1.51579ap-6,
    -0x1.7229c2p-8,
};

/// (tanh(x) - x) / x^3 in z = x^2; relative error 2^-56.5.
inline constexpr double kTanhF64[] = {
    -0x1.5555555555551p-2,
    0x1.1111111110aa7p-3,
    -0x1.ba1ba1b9bbdcdp-5,
    0x1.664f486c4d95fp-6,
    -0x1.226e3246be5fp-7,
    0x1.d6d3458aecd71p-9,
    -0x1.7d9b2cee1e3e1p-10,
    0x1.3502e5fb76f72p-11,
    -0x1.f0b375f82ab77p-13,
    0x1.7ecae14ac5c46p-14,
    -0x1.f579c3688fcd2p-16,
    0x1.8cb509aa9bcep-18,
};

/// erf(x) / x - 1 in z = x^2; relative error 2^-28.6.
inline constexpr double kErfF32[] = {
    0x1.06eba8p-3,
    -0x1.81273ep-2,
    0x1.ce2cf8p-4,
    -0x1.b7f90ep-6,
    0x1.5405b6p-8,
    -0x1.a3f738p-11,
    0x1.496afep-14,
};

/// erf(x) / x - 1 in z = x^2; relative error 2^-56.3.
inline constexpr double kErfF64[] = {
    0x1.06eba8214db69p-3,
    -0x1.812746b0379e7p-2,
    0x1.ce2f21a042bddp-4,
    -0x1.b82ce3128899bp-6,
    0x1.565bcd0e64abfp-8,
    -0x1.c02db3fed9134p-11,
    0x1.f9a326bfbb59ep-14,
    -0x1.f4d255e1b1c6cp-17,
    0x1.b9e64d0eeb81p-20,
    -0x1.5f6d6ba48fe9dp-23,
    0x1.fc411c251eeccp-27,
    -0x1.4e55e5e35eb7ap-30,
    0x1.7ecc89cb71f7ap-34,
    -0x1.292a68171694ap-38,
};

/// erfc(t + 2.5); relative error 2^-24.7.
inline constexpr double kErfTailF32[] = {
    0x1.aab092p-12,
    -0x1.1d7d38p-9,
    0x1.64f962p-8,
    -0x1.11b39ap-7,
    0x1.1a3c9cp-7,
    -0x1.9025b6p-8,
    0x1.7203b2p-9,
    -0x1.2877bap-11,
    -0x1.317daep-12,
    0x1.1fbc82p-12,
    -0x1.f497fp-15,
    -0x1.409892p-16,
    0x1.258b06p-17,
    -0x1.51100ap-22,
};

/// erfc(x) exp(x^2) in t = 1 / (1 + x); relative error 2^-57.0.
inline constexpr double kErfTailF64[] = {
    -0x1.1999f19a04e12p-18,
    0x1.20f3d4587caebp-1,
    0x1.1f3c0a9b46e28p-1,
    0x1.45ad37d871a17p-2,
    -0x1.1bb964118097fp-1,
    0x1.77ba1a171c058p-1,
    -0x1.5e73e318265cfp+2,
    0x1.dab67ea7a86a2p+3,
    -0x1.fd92b0b34f19ep+3,
    -0x1.7fce36308d259p+2,
    0x1.5543d04d62cedp+5,
    -0x1.f8344d5fdab92p+5,
    0x1.909b7ac881eaep+5,
    -0x1.6011744c2bfdbp+4,
    0x1.0f3aaf299c8cfp+2,
};

/// 2 atanh(s) / (s ln 2) in z = s^2, for float32 results; relative error 2^-36.2.
inline constexpr double kPowLog2F64[] = {
    0x1.71547652bef49p+1,
    0x1.ec709d1141a94p-1,
    0x1.27778118e712bp-1,
    0x1.a58cf4d3b3c1ep-2,
    0x1.5cf36e361800bp-2,
};

/// (atanh(s)/s - 1 - s^2/3) / s^4 in z = s^2; relative error 2^-66.2.
inline constexpr double kPowTailF64[] = {
    0x1.9999999999995p-3,
    0x1.2492492493058p-3,
    0x1.c71c71c57c27bp-4,
    0x1.745d183465fc2p-4,
    0x1.3b13622652908p-4,
    0x1.1120cb83b0927p-4,
    0x1.de2feddcf26ffp-5,
    0x1.eb2ead4eee1bbp-5,
};

/// 2^r for float32 results; relative error 2^-29.0.
inline constexpr double kPowExp2F64[] = {
    0x1.000000026a1cep+0,
    0x1.62e430ca4c1c8p-1,
    0x1.ebfbdac96f386p-3,
    0x1.c6aed15d5230dp-5,
    0x1.3b2dc4964448fp-7,
    0x1.5f4721ed715d2p-10,
    0x1.41d036e341b6cp-13,
};

/// 64 zero bits, then the binary digits of 2/pi after the point.
inline constexpr unsigned long long kTwoOverPi[] = {
    0x0000000000000000,
    0xa2f9836e4e441529,
    0xfc2757d1f534ddc0,
    0xdb6295993c439041,
    0xfe5163abdebbc561,
    0xb7246e3a424dd2e0,
    0x06492eea09d1921c,
    0xfe1deb1cb129a73e,
    0xe88235f52ebb4484,
    0xe99c7026b45f7e41,
    0x3991d639835339f4,
    0x9c845f8bbdf9283b,
    0x1ff897ffde05980f,
    0xef2f118b5a0a6d1f,
    0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea,
    0x6bfb5fb11f8d5d08,
    0x56033046fc7b6bab,
    0xf0cfbc209af4361d,
    0xa9e391615ee61b08,
};

}  // namespace coregrad::tables
// clang-format on
