// SHA-256 of ggml's own bytes and floats over the inputs of oracle.test.ts, which says how they were made.
export const golden: Readonly<Record<string, { encode: string; decode: string }>> = {
  mxfp4: {
    encode: '9852621372c9f8c4d9df69c3199c479e1fd555ad77c7a4097b39e15225571bc0',
    decode: '4c27b6d769765297c7ac62421458dbc2c815c282c7cdb5b4f2968f4dd397496e',
  },
  q4_0: {
    encode: 'c32eadff652e28f21655fc9cb14cf16a6e0132d3dd209706519164d29704211f',
    decode: 'a6d08841b95fcb512b52c092c024891d59baf33e3cbb423f95227f3205ad6d88',
  },
  q4_1: {
    encode: 'ff17e46836bf567af6c5d9f9e059aa3d2f3ed0fcb1a39b06bf807aba9399db47',
    decode: '4faca6bd64926784d4ff6c97317c664b5e0e6d57b02e1a1eea67c4d4b2018079',
  },
  q8_0: {
    encode: '7ae227c4b4a08b1376cd9a1cf5b2f090cecccc252ae52f82ed3e47b5e618b0cd',
    decode: '813520a01f0bd24f64e45c8d52af2db8416386d28f8bc9171026c1a9f8564170',
  },
  tq2_0: {
    encode: '6459788847eb6f0384867c793c198a177d1fd6e86f5a15154b5b5484280a1fa2',
    decode: 'be45bd3bad9695d09d65161e0b40867fc3ed453b9d5a77b25d9999bddfce6860',
  },
  iq4_nl: {
    encode: '03108892ee8e6e3135d7cc3429032a4c06b626bc587a8e9867ff547350db38e2',
    decode: 'd21eda3aac5baa39633c1fe7d8d5be2024a5c59330fbffb269e45d1504d8e3e9',
  },
  q4_K: {
    encode: '76732554bd74888e3f22b83ce034eedd7ea96b6d485ce5304060c848d6f0d43d',
    decode: 'cf90d5f5be5b8cb72e4d4f85b50bcdeb14b6e7cc7a25cb2d6a0f8e92346d9ae5',
  },
  q6_K: {
    encode: '7e3452e4ca1e7a56f3f218637e712cf329ca90906a6c640c4ed8cb7a9fe86043',
    decode: 'f4557c0f2e5cc79059c2b49e428bb6c057ab22d837333937830875def133f0be',
  },
};
