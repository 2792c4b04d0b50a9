// Package storetest holds what every [credential.Store] is tested with: the
// conformance suite [TestStore], and [Memory], a Store without a disk or a
// network whose failures a test chooses.
package storetest
