// Package localstore keeps credentials in one local file: for single machines,
// trials and the demo. It needs no service, survives power loss and has the
// versions and check-and-set semantics of Vault's KV version 2.
//
// The file is a bbolt database that one process at a time has open. Each document
// is sealed with AES-256-GCM under a key that lies in another file, so that a copy
// of the database alone (a backup, a disk) gives nothing away but the names of
// providers and tenants, the sizes of documents and when they were written.
// Nobody without the key can make up, change or exchange entries unnoticed, nor put
// an older one back: an index binds them all together. What can be put back is all of
// the file, while no process has it open: a restored backup is no attack.
//
// A write is acknowledged once it is on the disk (fsync). Writes that come
// together share one. The file does not shrink: the room of what was overwritten
// is used again.
package localstore
