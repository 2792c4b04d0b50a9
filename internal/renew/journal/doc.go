// Package journal keeps what must survive a crash between a token endpoint's
// answer and its arrival in the store.
//
// Each process has one file in a directory that it may share with others. It notes
// there which credential it is about to claim, then the raw answer of the token
// endpoint, and last that both are settled: that the store has what it needs to.
// The process holds an exclusive lock on its file for as long as it lives, and
// the kernel gives the lock up with the process, whatever ends it. So a file whose
// lock is free belongs to a process that has exited, and whoever gets the lock may
// finish what the exited one began: see [Directory.Adopt].
//
// # Files
//
// A file is named <id>.journal after a random 128-bit id. It has a header and then
// records. Each record is its length (4 bytes, big endian), a CRC-32C of these 4
// bytes, and the record sealed with AES-256-GCM: nonce, ciphertext, tag. The
// file's key is derived by HKDF (RFC 5869) from the directory's key and a random
// salt in the header; the additional data is the header with the file's id, and the
// record's number. So no record opens in another file, in another place, a second
// time, or after one that was taken away, and without the key nothing shows but
// the number of records and their sizes. What nobody can notice is records missing
// at the end: a file whose process died before it wrote them looks the same.
//
// The directory must be on a file system of this machine's own, where flock(2) and
// fsync(2) mean what they say.
package journal
