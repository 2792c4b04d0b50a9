// Package refresh obtains new tokens and commits them to the store: once for any
// number of requests that were rejected with the old ones, whatever becomes of
// those requests, and with rest between attempts that fail.
package refresh
