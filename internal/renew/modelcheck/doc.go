// Package modelcheck searches the refresh protocol exhaustively for a way to
// break its promise. It holds a model of the protocol, not its code: each state
// is a small fixed-size value, each step one thing that somebody does or that
// goes wrong, and the search visits every state that a bounded number of faults
// can lead to. The tests assert that no property is broken, and that for each
// known way to get the protocol wrong one is.
//
// # What is modelled
//
//   - Three replicas, two of which share a machine and so a journal directory;
//     one credential; three generations of its refresh token (two rotations),
//     and another line of tokens that an operator brings in. Each replica may
//     listen for one answer in the background while it works on another token.
//   - The document with its older versions. Writes are check-and-sets; an answer
//     can be lost, a write can be lost or land later than its caller waited for.
//   - An authorization server that takes each token once (or, with grace, for
//     some time more; or gives a new one only when it likes), whose requests and
//     answers can be slow or lost, and that may say 503.
//   - Another tenant of the same provider whose token does not rotate: the
//     protocol must not conclude anything from it.
//   - Crashes at every step with restarts as new processes, and stops at every
//     step that outlast every deadline and takeover.
//   - Journals: the records of running processes, and of exited ones until
//     another process that gets the file's lock has settled them. Whatever was
//     answered is recorded before it is acted by, also that a token was refused,
//     not looked at or not sent.
//   - Operators who put, patch, delete, undelete, destroy, disable and enable.
//
// # What is one step
//
// A read and the check-and-set that it leads to are one step: the check-and-set
// succeeds only if nothing was written in between, and changes nothing if it
// fails. (With Vault's soft deletion that is not so, since it leaves the version
// as it is: that race shows in the model as a late write.) In the worlds that are
// stepwise a process reads the document first, may adopt an exited one's journal
// then, and acts later: there the model tells that a claim is not written, and
// what was adopted is not judged, by what was read before. A journal is adopted
// between two attempts of a process, not within one.
//
// The look at the clock and the first byte of the token request are one step too;
// what a stop between the two can do is the window that remains. Between all
// other steps anything may happen.
//
// # Time
//
// There are no clocks but events. The deadline to send passes whenever it
// likes before the token is sent, as a store can be slow, and has no bearing on
// the answer, which may come at any time later. The listening ends when the
// connection breaks, when others may soon take over, or by a stop that outlasts
// both deadlines.
// Takeover can have passed for a claim while nobody who runs listens for its
// answer, works on it or has the answer, as those who run stop listening before
// and need much less time than that for the rest; to be cut off from the store for
// so long counts as being stopped, and who was cut off together with others gets
// the first chance after it. A token that was seen to survive its use makes both
// the listening and takeover shorter, which changes nothing here but for the
// flaws that change one of them alone. What a takeover gives up is marked as
// excused: see [config.strict]. So is what operators make forgotten
// who destroy the versions with a claim and put its token anew.
//
// # What is not modelled
//
// Versions are not numbered, so the deletion of a document's metadata, after
// which the numbers start again, cannot be told; nor can a history that is
// longer than the store keeps, or the undeletion of an older version. Disks do not
// fail, other clients do not share the token, access tokens are not told apart
// from the refresh tokens they came with, and the server does not revoke a whole
// line of tokens when one is used twice: the search looks for the second use
// itself.
//
// # Running it
//
//	go test ./internal/renew/modelcheck                      # seconds; one of the worlds is made at random
//	MODELCHECK_SEED=17 go test -run Random -v ./internal/renew/modelcheck
//	MODELCHECK=soak go test -run Faults -timeout 60m -v ./internal/renew/modelcheck
package modelcheck
