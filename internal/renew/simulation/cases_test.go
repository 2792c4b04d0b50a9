package simulation

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// takingOver are the usual rules with another takeover.
func takingOver(d time.Duration) rules {
	r := usual()
	r.takeover = d
	return r
}

const never time.Duration = -1

// onEdge lets do happen at the n-th edge that a test is looking for.
func (s *scene) onEdge(n int, is func(e edge) bool, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	otherwise := s.script
	s.script = func(e edge) fault {
		if is(e) {
			s.mu.Lock()
			n--
			now := n == 0
			s.mu.Unlock()
			if now {
				do()
			}
		}
		return otherwise(e)
	}
}

// isRead is where a process is about to read the document.
func isRead(p *process) func(edge) bool {
	return func(e edge) bool { return e.process == p && e.op == "get" && e.account != "" && !e.locked && !e.after }
}

// of makes what follows about another tenant.
func (s *scene) of(n int) { s.tenant = s.tenants[n] }

// That one tenant's token stays says nothing of another's, of the same provider.
func TestTokenThatStaysSaysNothingOfAnotherTenants(t *testing.T) {
	stays := usual()
	stays.lasting = true
	playShared(t, []rules{stays, usual()}, func(s *scene) {
		for _, p := range s.p {
			s.mustServe(p)
			s.server.expire(s.tenant)
		}
		s.of(1)
		s.server.expire(s.tenant)
		s.replies(reply{answers: 2 * time.Second})
		first, second := s.begin(s.p[0]), s.begin(s.p[2])
		if err := <-first; err != nil {
			t.Error(err)
		}
		if err := <-second; err != nil {
			t.Error(err)
		}
		s.wantSent(1, 1)
		s.want(2, "ready")
	})
}

// A token endpoint that rotates and answers late loses nobody a token.
func TestEndpointThatAnswersLate(t *testing.T) {
	for _, answers := range []time.Duration{9 * time.Second, 11 * time.Second, 12 * time.Second, 30 * time.Second, 9 * time.Minute} {
		for _, takeover := range []time.Duration{10 * time.Minute, never} {
			play(t, takingOver(takeover), func(s *scene) {
				s.replies(reply{answers: answers})
				_ = s.begin(s.p[0])
				for start := time.Now(); time.Since(start) < answers+2*time.Second; s.nap(time.Second) {
					_ = s.request(s.p[2])
				}
				s.want(2, "ready")
				s.wantSent(1, 1)
				for _, p := range s.p {
					s.mustServe(p)
				}
			})
		}
	}
}

func TestSlowStoreAndSlowEndpointTogether(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.mu.Lock()
		s.script = func(e edge) fault {
			if e.op == "put" && e.after && e.account != "" {
				return fault{slow, 2500 * time.Millisecond}
			}
			return fault{}
		}
		s.mu.Unlock()
		s.replies(reply{answers: 8 * time.Second})
		s.mustServe(s.p[0])
		s.nap(10 * time.Second)
		s.wantSent(1, 1)
		s.want(2, "ready")
		s.mustServe(s.p[2])
	})
}

// Some tenants' refresh gets 500: the others are served at once.
func TestBadTenantsDoNotKeepOthersFromBeingServed(t *testing.T) {
	bad := usual()
	bad.lasting = true // so that nothing is lost
	const bads, goods = 4, 3
	all := make([]rules, bads+goods)
	for i := range all {
		all[i] = usual()
		if i < bads {
			all[i] = bad
		}
	}
	for range 8 { // the delays of a breaker differ
		playShared(t, all, func(s *scene) {
			s.mu.Lock()
			s.serve = func(_ *process, t *tenant) reply {
				if t.lasting {
					return reply{fails: 500}
				}
				return reply{}
			}
			s.mu.Unlock()
			for i := range all {
				s.server.expire(s.tenants[i])
			}
			for range 150 {
				for i := range bads {
					s.of(i)
					_ = s.begin(s.p[0])
				}
				s.nap(time.Second)
			}
			for range 20 {
				for i := bads; i < len(all); i++ {
					s.of(i)
					start := time.Now()
					s.mustServeWithin(s.p[0], 2*time.Second) // the breaker may open while it claims
					if took := time.Since(start); took > 2*time.Second {
						t.Errorf("%s is served after %v", s.tenant.name, took)
					}
					s.server.expire(s.tenant)
				}
				s.of(0)
				_ = s.begin(s.p[0])
				s.nap(5 * time.Second)
			}
			s.mu.Lock()
			s.serve = nil
			s.mu.Unlock()
			s.replies()
			for i := range bads {
				s.of(i)
				s.mustServeWithin(s.p[0], 6*time.Minute)
			}
		})
	}
}

// A claim that is adopted is judged by a document that is read after that.
func TestAdoptedClaimIsJudgedByADocumentReadLater(t *testing.T) {
	play(t, takingOver(never), func(s *scene) {
		if _, err := s.p[1].cache.Get(context.Background(), s.tenant.key()); err != nil {
			t.Fatal(err)
		}
		s.at(after(s.p[1], "get", ""), fault{slow, 4500 * time.Millisecond})
		outcome := s.begin(s.p[1]) // reads the document without a claim
		s.nap(100 * time.Millisecond)
		s.replies(reply{answers: time.Minute})
		_ = s.begin(s.p[0])
		s.nap(100 * time.Millisecond)
		s.wantSent(1, 1)
		s.kill(s.p[0], false)
		if err := <-outcome; err == nil {
			t.Error("it is served")
		}
		s.nap(time.Minute)
		s.wantSent(1, 1)
		s.operate(s.tenant, putOther)
		s.mustServeWithin(s.p[1], cacheTTL+time.Second)
		s.nap(10 * time.Second) // until the old claim is settled, too
	})
}

// A version that cannot be read any more holds no claim on a token that never stood in
// it.
func TestNewTokensAreUsedAtOnceWhateverWasDeleted(t *testing.T) {
	for _, gone := range []operation{destroyAll, destroyOld, deleteIt} {
		for _, takeover := range []time.Duration{never, 10 * time.Minute} {
			play(t, takingOver(takeover), func(s *scene) {
				s.mustServe(s.p[0])
				s.operate(s.tenant, gone)
				s.operate(s.tenant, putOther)
				s.nap(cacheTTL + time.Second) // until the caches know
				s.server.expire(s.tenant)
				s.mustServe(s.p[2])
				s.mustServe(s.p[0])
				s.wantSent(3, 1)
			})
		}
	}
}

// Reads that fail now and then do not put takeover off.
func TestTakeoverComesThoughReadsFail(t *testing.T) {
	play(t, takingOver(15*time.Second), func(s *scene) {
		s.replies(reply{drops: true})
		_ = s.begin(s.p[0])
		s.nap(100 * time.Millisecond)
		s.kill(s.p[0], true)
		reads := 0
		s.mu.Lock()
		s.script = func(e edge) fault {
			if isRead(s.p[2])(e) {
				if reads++; reads%5 == 0 {
					return fault{kind: fail}
				}
			}
			return fault{}
		}
		s.mu.Unlock()
		s.mustServeWithin(s.p[2], 45*time.Second)
		s.wantSent(1, 2)
		s.start(0)
	})
}

// Whenever a document is deleted, it stays so: at whatever read of a refresh that is.
func TestDeletionAtAnyReadOfARefreshStays(t *testing.T) {
	for n, happened := 1, true; happened; n++ {
		play(t, usual(), func(s *scene) {
			happened = false
			for range 3 { // older versions, which are looked back at
				s.operate(s.tenant, putSame)
			}
			s.onEdge(n, isRead(s.p[0]), func() {
				happened = true
				s.operate(s.tenant, deleteIt)
			})
			_ = s.request(s.p[0])
			s.nap(time.Minute)
			s.ledger.mu.Lock()
			deleted := s.ledger.accounts[s.tenant.name].deleted
			s.ledger.mu.Unlock()
			if happened && !deleted {
				t.Errorf("deleted at read %d, it is back", n)
			}
		})
	}
}

// That the server did not look at a token is remembered like an answer: by this process,
// and by who adopts its journal.
func TestNotLookedAtIsNotForgottenWhileTheDocumentIsDeleted(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		play(t, takingOver(never), func(s *scene) {
			s.replies(reply{unlooked: 503, answers: 2 * time.Second})
			_ = s.begin(s.p[0])
			s.nap(time.Second)
			s.operate(s.tenant, deleteIt)
			s.nap(20 * time.Second)
			if restarts {
				s.kill(s.p[0], true)
				s.kill(s.p[1], true)
				s.start(0)
			}
			s.nap(20 * time.Second)
			s.operate(s.tenant, undelete)
			s.nap(12 * time.Second)
			s.want(1, "ready")
			s.mustServeWithin(s.p[2], cacheTTL+5*time.Second)
			s.wantSent(1, 2)
		})
	}
}

// Seed 7045551: within a grace another process went on, and somebody went back to the old
// token. Who waits for that process's claim finds the answer to another claim on the token
// in an exited process's journal.
func TestAnswerToTheSameTokenUnderAnotherClaimEndsTheWait(t *testing.T) {
	grace := takingOver(15 * time.Second)
	grace.rotation, grace.grace = scheme.RotationGrace, 25*time.Second
	play(t, grace, func(s *scene) {
		s.kill(s.p[1], false)
		s.at(beforePut(s.p[0], "ready"), fault{kind: kills}) // with r2 in its journal
		_ = s.request(s.p[0])
		s.nap(12 * time.Second)
		s.at(after(s.p[2], "put", "ready"), fault{kind: kills}) // with r3, over that claim
		_ = s.request(s.p[2])
		s.want(3, "ready")
		s.operate(s.tenant, putOld)
		s.want(1, "")
		s.at(func(e edge) bool { return e.op == "adopt" && !e.after }, fault{kind: fail}) // until the next time
		p := s.start(1)
		s.nap(500 * time.Millisecond)
		s.server.expire(s.tenant)
		_ = s.begin(p)
		s.nap(time.Minute)
		s.start(2)
	})
}

// Seed 5003627: new tokens got in, others after them, that version was deleted, and somebody
// went back to the old one. A journal that forgot by a power failure that they got in does
// not bring them in again: the search for them goes past the deleted version.
func TestTokensAreNotBroughtInAgainPastADeletedVersion(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.at(after(s.p[2], "put", "ready"), fault{kind: powerLost})
		_ = s.request(s.p[2])
		s.want(2, "ready")
		s.operate(s.tenant, putOther)
		s.operate(s.tenant, deleteIt)
		s.vault.mu.Lock()
		s.write(s.tenant, 4, pairOf("old", s.token(1), "new"))
		s.vault.mu.Unlock()
		s.start(2)
		s.nap(10 * time.Second)
		s.want(1, "")
	})
}

// Seed 7051759: a refused token is put once more over the refusal, deleted, and put again.
// Nobody can have claimed it in between.
func TestRefusedTokenIsNotClaimedBehindADeletedVersion(t *testing.T) {
	play(t, takingOver(15*time.Second), func(s *scene) {
		s.replies(reply{loses: true})
		s.begin(s.p[0])
		s.nap(5 * time.Second)
		_ = s.request(s.p[0])
		s.want(1, "reauthorization_required")
		s.operate(s.tenant, putSame)
		s.operate(s.tenant, deleteIt)
		s.nap(time.Second)
		s.operate(s.tenant, putSame)
		s.nap(cacheTTL)
		for range 40 {
			_ = s.request(s.p[2])
			s.nap(time.Second)
		}
		s.wantSent(1, 2)
	})
}

// Seed 5015651: whatever is in a disabled document's record, it is not claimed, and a
// refusal is written down all the same.
func TestDisabledDocumentIsRefusedAndNotClaimed(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.replies(reply{loses: true}, reply{answers: 2 * time.Second})
		_ = s.begin(s.p[0])
		s.nap(1500 * time.Millisecond)
		_ = s.begin(s.p[0])
		s.nap(500 * time.Millisecond)
		s.operate(s.tenant, disable)
		s.nap(5 * time.Second)
		s.want(1, "reauthorization_required")
		for range 30 {
			_ = s.request(s.p[2])
			_ = s.request(s.p[0])
			s.nap(time.Second)
		}
		if d := s.newest(); !d.disabled() || d.claimed() {
			t.Errorf("the document is %+v", d)
		}
		s.wantSent(1, 2)
		s.operate(s.tenant, enable)
		s.nap(cacheTTL)
		_ = s.request(s.p[2])
		s.wantSent(1, 2)
	})
}

// A claim that was made under a longer takeover is respected by a process with a shorter
// one: its owner still listens.
func TestClaimOfALongerTakeoverIsLeftAlone(t *testing.T) {
	for _, takeover := range []time.Duration{15 * time.Second, time.Minute} {
		t.Run(fmt.Sprint(takeover), func(t *testing.T) {
			play(t, takingOver(5*time.Minute), func(s *scene) {
				s.replies(reply{answers: 4 * time.Minute})
				_ = s.begin(s.p[0])
				s.nap(time.Second)
				s.reconfigure(s.p[2], takeover)
				for range 250 {
					_ = s.request(s.p[2])
					s.nap(time.Second)
				}
				s.wantSent(1, 1)
				s.want(2, "ready")
			})
		})
	}
}

// reconfigure gives a process another takeover than the others have.
func (s *scene) reconfigure(p *process, takeover time.Duration) {
	o := s.tenant.renewer.Config
	o.Takeover = takeover
	changed, err := oauth2.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	p.providers[s.tenant.provider] = renew.NewProvider(s.tenant.provider, changed, "another")
}
