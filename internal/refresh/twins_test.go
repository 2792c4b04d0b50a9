package refresh

import (
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
)

// One claim is in two journals of a dead process, which died while it went over from
// a broken one to another, with its answer in one of them. The two are adopted
// while a flight is between commitAnswered and move.
func TestATwinWithoutAnAnswerDoesNotHideTheOneWithIt(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		rejected := f.claimedBy("n1")
		dead := f.journals.Start()
		a := &answer{status: 200, contentType: "application/json", body: []byte(granted)}
		for _, with := range []bool{true, false} {
			n := newNotes(f.store, dead)
			note := noteFor("n1")
			note.BaseVersion = rejected.Version() - 1
			if _, err := n.claim(note); err != nil {
				t.Fatal(err)
			}
			if with {
				if err := n.answer("n1", journal.Answer{SpentToken: "canary-r1", Response: a.raw(), At: time.Now()}); err != nil {
					t.Fatal(err)
				}
			}
		}
		dead.Kill()
		r := f.replica(nil)
		adopted := false
		f.store.Fault = func(op string, k credential.Key) error {
			if op == storetest.OpGet && k == key && !adopted { // the first read of the flight
				adopted = true
				r.adopt()
			}
			return nil
		}
		fresh, err := r.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(0)
	})
}
