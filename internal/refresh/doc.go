// Package refresh obtains new tokens and commits them to the store: once for any
// number of requests that were rejected with the old ones, in any number of
// processes, whatever becomes of those requests, and with rest between attempts
// that fail.
//
// # The protocol
//
// Many authorization servers take a refresh token once. If it is sent twice, or if
// its successor is lost, a person has to authorize anew. So the document is its own
// lock, by nothing but the store's check-and-set, under
// [credential.ReservedField]:
//
//	ready ──claim──▶ spending ──commit──▶ ready, with the new token
//	                    ├── provably unsent, 429, 503 ──▶ ready
//	                    └── refused for good ──▶ reauthorization_required
//
// A flight (flight.go) is all that goes on for one credential in this process. It
// reads what is known of the refresh token (record.go, standing.go), decides
// what to do (move.go), and makes an attempt (attempt.go): all that can fail first,
// down to the connection to the token endpoint (endpoint.go); then the claim
// (claim.go), noted in the journal (notes.go) and written into the document; then
// the token request, let go through a gate that looks at the clock (gate.go); then
// its answer (response.go, grant.go) into the journal, and into the store
// (commit.go, revise.go). What cannot be ended at once is an entry (entry.go), and
// is taken up again, as what dead processes left is (recovery.go).
//
// SECURITY.md says what this promises; package modelcheck searches the protocol for
// a way to break it, and package simulation runs this code in a simulated world.
package refresh
