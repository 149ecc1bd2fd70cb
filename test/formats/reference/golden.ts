// SHA-256 of ggml's own bytes and floats over seeded inputs: `encode` and `weighted` (with
// importance weights, where ggml takes them) over those of ggml.ts, `decode` over those of
// oracle.test.ts, which says how they were made.
export interface Golden {
  readonly encode: string;
  readonly weighted?: string;
  readonly decode?: string;
}

export const golden: Readonly<Record<string, Golden>> = {
  iq1_m: {
    encode: '2cf54c1934ab550be59c7c0249e78540a699387af3685b1f594704797914a1f1',
    weighted: '7ef326b79a64b7988e76280eabfd0eb597785cefbb9b1c55712b8f2a9090e288',
    decode: 'd1d55776ee0ef47ff9b9e81f69c02293abd669d515ddb53f77911cd6031c4468',
  },
  iq1_s: {
    encode: 'cf74b3cd2ee8d559a8acd0073623143f2ced7d005c8d504c0ec424c9d150e1ef',
    weighted: 'c6253a309c67353c48f9e6375f8e9a2f2ec96302f714021a1a1b241845e54006',
    decode: '8bbbd7a8449093c72154a519fe0624aad30931224d2ee081480cd231b89c4039',
  },
  iq2_s: {
    encode: '958e7f7ba19cbc89e7b4994b268025f7fb7df183b91cdcbb2dd5d2e56832996b',
    weighted: '7559f54853895f94b5cec4deb6797e39bd14670edbc93167fba70f61b5abc8d8',
    decode: '121ca27b3c87a8327c13260365252da19c6068e9c7c181b952ab18882b305dd7',
  },
  iq2_xs: {
    encode: 'b89205452c0b345397eba93ed6784a9c5a662f0e17231382971bdc89ff0b5953',
    weighted: 'c957001410d42075ef636dca4feb3365672744622d1b0c411bb05bd135b595c7',
    decode: 'd63b9fe93a73d37cf438c2b68cfd3e353936feeece3701b4541e65e5a7c3bfc1',
  },
  iq2_xxs: {
    encode: '7da0723597ef4fc3a81688d65884a0dedf3659ce96417e807b6a4161605e7dd3',
    weighted: '0506fb5643c1dc376afaa163ac3680ccb7c06dcb5a99a2bebd558cfb891be8b3',
    decode: 'bc4929df03cdd6b155d72786dc28d2d558a730e3e8b14cca362c78975cee37fc',
  },
  iq3_s: {
    encode: 'e1dce5a8b239ed18f29809a3101f873461f40373a8f194e0d896ff35b963b7bd',
    weighted: 'ce4f4184f2ffe1b9e7b0422691b16fe08356c79d34f6b8efc272b602de7cfa66',
    decode: 'b0ada4902c7ec0a386c05c70d450c30fbc0521f5c7144b71fc662717bb411485',
  },
  iq3_xxs: {
    encode: '1f0a49d04e496f1e601f6fc5af4ac0ed0337c72f00340c83b1db8afa5e441920',
    weighted: 'c03f89695b8f16f86f0a2ea81249006c8cc9a107d024bbfa221283a08ca8832e',
    decode: '7605432ff61a8e0132815222738d738b72483725b11e024e045210f736b5e4f9',
  },
  iq4_nl: {
    encode: '03108892ee8e6e3135d7cc3429032a4c06b626bc587a8e9867ff547350db38e2',
    weighted: 'aaedcfa3a0f4a2d73d9db3417377e1c9b79d2b75b4f2a8b22a614221585c5d47',
    decode: 'd21eda3aac5baa39633c1fe7d8d5be2024a5c59330fbffb269e45d1504d8e3e9',
  },
  iq4_xs: {
    encode: '76648111e56dda8dd175af7f32ba916e4c29ac2cbbcb1c869631927a33aa5b55',
    weighted: 'bb021d7617cd44b1bb7307f890d37b5c538c1aa7a7bcbd8c37003455d761f508',
    decode: '16259e2461736b92d7573b98f6b45d132ed27a2a9429804d532ce6689c96c058',
  },
  mxfp4: {
    encode: '9852621372c9f8c4d9df69c3199c479e1fd555ad77c7a4097b39e15225571bc0',
    decode: '4c27b6d769765297c7ac62421458dbc2c815c282c7cdb5b4f2968f4dd397496e',
  },
  nvfp4: {
    encode: 'fa8514c237ad70804538703881d850adb40acff0df71697db3d6eb073a9f2bad',
    decode: '2fb8418cbc3dba710513b8c352cc996e07840985af84e7ddd62fc51f4babc6cf',
  },
  q2_K: {
    encode: '3d8dae760aa22ceea5035685715feca59016ca430fe39fbbaa1b5e4fff36fe14',
    weighted: '2410c59d6cbbd6e59bf82dcacdc87863bda0d7a070f4b37c8210ff345760c1a4',
    decode: '25547b0d9f1a9e836a0c6c66c62017893a321ab7ac408ee1c0b37d81f038b688',
  },
  q3_K: {
    encode: '37cbb24ea1e35d2a2344cfa4956516bdcb36b8ee2583e8e75116b043f91aa044',
    weighted: '728ed853ac7d3223fd0e1ff68380fdfa86041142ba9095ded044d86cdd63d2ec',
    decode: 'f12987734e81b5c72990b08f267045e6443ec7d16580ba0e655d1dc6f6fec5ab',
  },
  q4_0: {
    encode: 'c32eadff652e28f21655fc9cb14cf16a6e0132d3dd209706519164d29704211f',
    weighted: '9b6d1e0c9f2e012aee6ac872d0dd94d4a263deb7e8bf05599bb1180ce80e44db',
    decode: 'a6d08841b95fcb512b52c092c024891d59baf33e3cbb423f95227f3205ad6d88',
  },
  q4_1: {
    encode: 'ff17e46836bf567af6c5d9f9e059aa3d2f3ed0fcb1a39b06bf807aba9399db47',
    weighted: '4063adcb7f4e1efd794ac6b07b467a3881aabb73b8791e4d5a9fe080dbffd2a3',
    decode: '4faca6bd64926784d4ff6c97317c664b5e0e6d57b02e1a1eea67c4d4b2018079',
  },
  q4_K: {
    encode: '76732554bd74888e3f22b83ce034eedd7ea96b6d485ce5304060c848d6f0d43d',
    weighted: 'a4bfeeb410ae9b631a5708c7640ba3e9363fcb85d99691e03ac150016b7486b2',
    decode: 'cf90d5f5be5b8cb72e4d4f85b50bcdeb14b6e7cc7a25cb2d6a0f8e92346d9ae5',
  },
  q5_0: {
    encode: '5153a22cc01e3915514847797634b908d6cc3f5bc0728901be0b5d2ebdc0698d',
    weighted: 'a6741e4bb019010c335019a895cb9384bf25da1cec9406de9407a5c8aaab3f00',
    decode: '2693afcfb90b05d3cb589beb4e5d04a81e0b58b6e3b340a0387e6e5705bedc7d',
  },
  q5_1: {
    encode: 'db1ec65ffe9a5987db8ae17e2610d1fcfedcdae4a36b71f0ee31c06e5ad84ad4',
    weighted: '60a769e71dba4eef439be29d04b376eaafe7bc5c3bae53aa4859958d99edadb2',
    decode: '5fb8e9b282c33c70cd72b5016a722ee0a9a0604167124a740eaec202f46d2e87',
  },
  q5_K: {
    encode: 'd313e58f6ad85d7b3fe996f3ef39f8c1b500f3a0f256a8815b8e010735ae7993',
    weighted: '747bfc81b955f9fd52df08d7c0fa0270b0eb36d88473c5364cfe91d388f865c2',
    decode: '944ae3ae4dae5418aafbb6420b1e31b1245f8c7ef6200f29133f2fed20750111',
  },
  q6_K: {
    encode: '7e3452e4ca1e7a56f3f218637e712cf329ca90906a6c640c4ed8cb7a9fe86043',
    weighted: '6dc4771ebca13c44a2e5a2a968de7b94774fa239c12abcb398d07341f189ccdc',
    decode: 'f4557c0f2e5cc79059c2b49e428bb6c057ab22d837333937830875def133f0be',
  },
  q8_0: {
    encode: '7ae227c4b4a08b1376cd9a1cf5b2f090cecccc252ae52f82ed3e47b5e618b0cd',
    decode: '813520a01f0bd24f64e45c8d52af2db8416386d28f8bc9171026c1a9f8564170',
  },
  q8_1: {
    encode: 'd9cc614dd2f959b2578c38ed583e7821efab28c73a8de677c314f28c3cc5cb8a',
  },
  q8_K: {
    encode: 'eb53fecb0f7ab2b69ab16f9c3eab1952086f6f6eae50425cf130588e9ec9e432',
    decode: '270e4e5277e9c79b24e582fe5c596b77b00751592d9b5b7b7f515029e3e0f55a',
  },
  tq1_0: {
    encode: '8ded1ae695d845f3866562d5c50cce6efd4564f3a53e7bf98e758907ccd78f51',
    decode: '85819b55f95084b6ebcd5b8ec067c9c6a229152a24cf9612ef6dfdb5935314e5',
  },
  tq2_0: {
    encode: '6459788847eb6f0384867c793c198a177d1fd6e86f5a15154b5b5484280a1fa2',
    decode: 'be45bd3bad9695d09d65161e0b40867fc3ed453b9d5a77b25d9999bddfce6860',
  },
};
