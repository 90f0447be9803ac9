// Stands for the native library that the SDK encrypts with, which is downloaded at installation. The bridge of the tests does not encrypt.
module.exports = new Proxy({}, { get: (_, name) => class { constructor() { throw new Error(`${String(name)}: no encryption here`); } } });
