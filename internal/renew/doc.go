// Package renew obtains new tokens and commits them to the store: once for any
// number of requests that were rejected with the old ones, in any number of
// processes, whatever becomes of those requests, and with a cooldown between attempts
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
// What is known of a refresh token is known of that token, in its own document, and of
// nothing else: another tenant of the same provider may fare otherwise.
//
// # Where to read
//
// A refresh is one renewal. Its sequence is the method pass in renewal.go: what is
// unfinished, the document, what is known of its token (history.go), and what to do
// (decide). To spend the token (spend.go) is to do first all that can fail, down to the
// connection; then to claim it (claim.go); then to send it, once, and to note the answer
// in the journal (journal.go) before anybody looks at it; then to do what the answer says
// (finish.go), which is to bring the tokens in (commit.go), to take the claim out, or to
// say that the token was refused (update.go).
//
// Beside it are what is remembered of each credential (state.go), the claims that are
// not settled (pending.go), who looks after them when nobody asks (recovery.go), the
// wait for another process's claim (await.go), and what keeps an endpoint from being
// asked by everybody (breaker.go). limits.go has the times on which the protocol rests.
//
// What happens is told as an [Event]; the last one of each credential is remembered.
//
// SECURITY.md says what this promises; package modelcheck searches the protocol for
// a way to break it, and package simulation runs this code in a simulated world.
package renew
