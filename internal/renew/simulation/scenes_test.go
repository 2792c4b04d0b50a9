package simulation

import (
	"errors"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestAnswerInTheJournalSurvivesACrashBeforeItsCommit(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.at(beforePut(s.p[0], "ready"), fault{kind: kills})
		_ = s.request(s.p[0])
		s.nap(6 * time.Second) // the other on the machine adopts it
		s.want(2, "ready")
		s.mustServe(s.p[2])
		s.wantSent(1, 1)
	})
}

func TestAnswerInTheJournalSurvivesAPowerFailure(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.at(beforePut(s.p[0], "ready"), fault{kind: powerLost})
		_ = s.request(s.p[0])
		s.nap(5 * time.Minute)
		s.want(1, "spending")
		s.start(1)
		s.nap(6 * time.Second)
		s.want(2, "ready")
		s.wantSent(1, 1)
	})
}

func TestCrashBetweenNoteAndClaimLeavesNothing(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.at(after(s.p[0], "claim", ""), fault{kind: kills})
		_ = s.request(s.p[0])
		s.mustServe(s.p[2])
		s.nap(6 * time.Second)
		s.want(2, "ready")
		s.wantSent(1, 1)
	})
}

func TestCrashBetweenClaimAndSendingIsMadeGoodAtOnce(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.at(after(s.p[0], "put", "spending"), fault{kind: kills})
		_ = s.request(s.p[0])
		s.wantSent(1, 0)
		s.nap(6 * time.Second)
		s.want(2, "ready")
		s.wantSent(1, 1)
		s.mustServe(s.p[1])
	})
}

func TestCrashBetweenSendingAndAnswerIsMadeGoodByWhoAdopts(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.replies(reply{drops: true, answers: 5 * time.Second})
		_ = s.begin(s.p[0])
		s.nap(time.Second)
		s.kill(s.p[0], false)
		s.nap(6 * time.Second)
		s.want(2, "ready")
		s.wantSent(1, 2)
	})
}

func TestCrashBetweenSendingAndAnswerNeedsAPersonWithTakeoverNever(t *testing.T) {
	never := usual()
	never.takeover = -1
	play(t, never, func(s *scene) {
		s.replies(reply{answers: 5 * time.Second})
		_ = s.begin(s.p[0])
		s.nap(time.Second)
		s.kill(s.p[0], false)
		s.nap(time.Hour)
		s.want(1, "spending")
		s.wantSent(1, 1)
		if err := s.request(s.p[1]); !errors.Is(err, renew.ErrReauthorizationRequired) {
			t.Errorf("who knows that the owner is dead says %v", err)
		}
		if err := s.request(s.p[2]); !errors.Is(err, renew.ErrFailed) {
			t.Errorf("who does not know says %v", err)
		}
		s.operate(s.tenant, putOther)
		s.nap(80 * time.Second) // by then the old claim is settled, too
		s.server.expire(s.tenant)
		s.mustServe(s.p[1])
		s.mustServe(s.p[2])
	})
}

func TestStoppedPastTheDeadlineBeforeSendingSendsNothing(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.at(after(s.p[0], "put", "spending"), fault{stops, 11 * time.Second})
		if err := s.request(s.p[0]); err == nil {
			t.Error("it is served")
		}
		s.nap(time.Second)
		s.wantSent(1, 0)
		s.want(1, "ready")
		s.mustServe(s.p[2])
	})
}

func TestStoppedPastTakeoverWithTheAnswerOnItsWayCommitsItAllTheSame(t *testing.T) {
	short := usual()
	short.takeover = 15 * time.Second
	play(t, short, func(s *scene) {
		s.at(func(e edge) bool { return e.process == s.p[0] && e.op == "answered" }, fault{stops, 30 * time.Second})
		_ = s.begin(s.p[0])
		for range 25 {
			s.nap(time.Second)
			_ = s.request(s.p[2])
		}
		s.wantSent(1, 2) // taken over from who was out of reach
		s.nap(15 * time.Second)
		s.want(2, "ready")
		s.mustServeWithin(s.p[2], 10*time.Second)
	})
}

func TestClaimWithALostAnswerIsReadBack(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.at(after(s.p[0], "put", "spending"), fault{kind: fail})
		s.mustServe(s.p[0])
		s.wantSent(1, 1)
		s.want(2, "ready")
	})
}

func TestClaimThatSeemsToConflictWithItselfIsReadBack(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.at(after(s.p[0], "put", "spending"), fault{kind: lie})
		s.mustServe(s.p[0])
		s.wantSent(1, 1)
	})
}

// Who gives up writes the document once more, so that a claim that is still on its
// way finds another version.
func TestLateClaimFindsItsVersionGone(t *testing.T) {
	play(t, usual(), func(s *scene) {
		gaveUp := time.Now().Add(8 * time.Second)
		s.mu.Lock()
		s.script = func(e edge) fault {
			if beforePut(s.p[0], "spending")(e) && time.Now().Before(gaveUp) {
				return fault{late, 30 * time.Second}
			}
			return fault{}
		}
		s.mu.Unlock()
		if err := s.request(s.p[0]); err == nil {
			t.Error("it is served")
		}
		s.nap(40 * time.Second)
		s.wantSent(1, 0)
		if d := s.newest(); d.claimed() {
			t.Error("the late claim is in the document")
		}
		s.mustServe(s.p[2])
	})
}

func TestDocumentPutWithoutTheKeyDuringASpendKeepsOthersFromSending(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.replies(reply{answers: 5 * time.Second})
		first := s.begin(s.p[0])
		s.nap(time.Second)
		s.operate(s.tenant, putSame)
		second := s.begin(s.p[2])
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
		s.want(2, "ready")
		s.wantSent(1, 1)
	})
}

func TestTokenThatWasNotLookedAtIsReleasedAndSentAgain(t *testing.T) {
	never := usual()
	never.takeover = -1
	play(t, never, func(s *scene) {
		s.replies(reply{unlooked: 503}, reply{unlooked: 429}, reply{unlooked: 401})
		for n := range 3 {
			if err := s.request(s.p[n%2]); err == nil {
				t.Error("it is served")
			}
			s.nap(10 * time.Second)
			s.want(1, "ready")
		}
		s.mustServe(s.p[2])
		s.wantSent(1, 4)
	})
}

func TestRefusalAfterSomebodyElsesRotationAdoptsTheirs(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.replies(reply{arrives: 2 * time.Second})
		outcome := s.begin(s.p[0])
		s.nap(time.Second)
		s.server.takes(s.tenant, s.token(1)) // by a person who logs in anew
		s.operate(s.tenant, putOther)
		if err := <-outcome; err != nil {
			t.Error(err)
		}
		s.want(2, "")
		s.wantSent(2, 0)
	})
}

func TestRefusalIsWrittenDownOnce(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.replies(reply{loses: true})
		for range 10 {
			_ = s.request(s.p[0])
			_ = s.request(s.p[2])
			s.nap(time.Second)
		}
		s.want(1, "reauthorization_required")
		s.wantSent(1, 2)
		if err := s.request(s.p[2]); !errors.Is(err, renew.ErrReauthorizationRequired) {
			t.Errorf("the other says %v", err)
		}
	})
}

func TestCommitOutlastsAnOutageOfTheStore(t *testing.T) {
	long := usual()
	long.takeover = time.Hour
	play(t, long, func(s *scene) {
		s.replies(reply{answers: time.Second})
		outcome := s.begin(s.p[0])
		s.nap(500 * time.Millisecond)
		s.vault.mu.Lock()
		s.vault.downUntil = time.Now().Add(20 * time.Minute)
		s.vault.mu.Unlock()
		if err := <-outcome; err != nil {
			t.Error(err)
		}
		for range 19 {
			s.nap(time.Minute)
			s.mustServe(s.p[0])
		}
		s.want(1, "spending")
		s.nap(time.Minute + 10*time.Second)
		s.want(2, "ready")
		s.wantSent(1, 1)
		s.mustServe(s.p[2])
	})
}

func TestDeletionDuringASpendLosesNothingOnceItIsUndone(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.replies(reply{answers: 2 * time.Second})
		_ = s.begin(s.p[0])
		s.nap(time.Second)
		s.operate(s.tenant, deleteIt)
		s.nap(5 * time.Minute)
		s.wantSent(1, 1)
		s.operate(s.tenant, undelete)
		s.mustServe(s.p[0])
		s.want(2, "ready")
		s.mustServe(s.p[2])
		s.wantSent(1, 1)
	})
}

// Nobody asks the one who has the answer; it has to notice the undeletion itself,
// before somebody else takes over.
func TestUndeletedDocumentGetsItsAnswerBeforeSomebodyTakesOver(t *testing.T) {
	short := usual()
	short.takeover = 15 * time.Second
	play(t, short, func(s *scene) {
		s.replies(reply{answers: 2 * time.Second})
		_ = s.begin(s.p[0])
		s.nap(500 * time.Millisecond)
		_ = s.begin(s.p[2])
		s.nap(500 * time.Millisecond)
		s.operate(s.tenant, deleteIt)
		s.nap(5 * time.Minute)
		s.operate(s.tenant, undelete)
		for range 120 {
			_ = s.request(s.p[2])
			s.nap(time.Second)
		}
		s.want(2, "ready")
		s.wantSent(1, 1)
	})
}

func TestDocumentDisabledWhileAClaimIsAwaitedIsNotClaimed(t *testing.T) {
	short := usual()
	short.takeover = 15 * time.Second
	play(t, short, func(s *scene) {
		s.replies(reply{drops: true})
		_ = s.begin(s.p[0])
		s.nap(100 * time.Millisecond)
		_ = s.begin(s.p[2])
		s.kill(s.p[0], true)
		s.nap(time.Second)
		s.operate(s.tenant, disable)
		for range 60 {
			_ = s.request(s.p[2])
			s.nap(time.Second)
		}
		s.wantSent(1, 1)
		s.operate(s.tenant, enable)
		s.mustServeWithin(s.p[2], cacheTTL+10*time.Second)
		s.start(0)
	})
}

func TestAnswerAdoptedWhileItsClaimIsAwaitedEndsTheWait(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.replies(reply{answers: time.Second})
		s.at(beforePut(s.p[0], "ready"), fault{kind: kills})
		_ = s.begin(s.p[0])
		s.nap(500 * time.Millisecond)
		began := time.Now()
		s.mustServe(s.p[1])
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		s.wantSent(1, 1)
	})
}

func TestDeletionDuringAClaimStays(t *testing.T) {
	play(t, usual(), func(s *scene) {
		s.at(beforePut(s.p[0], "spending"), fault{slow, 10 * time.Second})
		outcome := s.begin(s.p[0])
		s.nap(time.Second)
		s.operate(s.tenant, deleteIt)
		if err := <-outcome; err == nil {
			t.Error("it is served")
		}
		s.nap(10 * time.Minute)
		if !s.ledger.excused(s.tenant.name) {
			t.Error("the document is back")
		}
		s.wantSent(1, 0)
		s.operate(s.tenant, undelete)
		s.mustServeWithin(s.p[0], 10*time.Second)
	})
}

// An answer without a refresh token is no reason to end the claim of who sends the
// token meanwhile.
func TestCutAnswerLeavesTheClaimOfWhoTookOver(t *testing.T) {
	short := usual()
	short.takeover = 15 * time.Second
	play(t, short, func(s *scene) {
		s.replies(reply{cut: 40}, reply{drops: true, answers: 9 * time.Second})
		s.at(func(e edge) bool { return e.process == s.p[0] && e.op == "answered" }, fault{stops, 18 * time.Second})
		_ = s.begin(s.p[0])
		s.nap(500 * time.Millisecond)
		_ = s.request(s.p[2]) // waits, and takes over
		s.nap(4 * time.Second)
		if d := s.newest(); !d.claimed() {
			t.Error("the claim is gone")
		}
	})
}

func TestUndeletedDocumentGetsItsAnswerSoonThoughNobodyAsks(t *testing.T) {
	for after := 5 * time.Minute; after < 6*time.Minute; after += 7 * time.Second {
		play(t, usual(), func(s *scene) {
			s.replies(reply{answers: 2 * time.Second})
			_ = s.begin(s.p[0])
			s.nap(time.Second)
			s.operate(s.tenant, deleteIt)
			s.nap(after)
			s.operate(s.tenant, undelete)
			s.nap(10 * time.Second)
			s.want(2, "ready")
		})
	}
}

// The server's grace is shorter than ours is said to be. Whoever claimed over
// another and is refused knows nothing of what the other was granted.
func TestRefusalOfAClaimOverAnotherIsNotTakenForTheLastWord(t *testing.T) {
	grace := usual()
	grace.rotation, grace.grace = scheme.RotationGrace, time.Minute
	play(t, grace, func(s *scene) {
		s.server.mu.Lock()
		s.tenant.grace = time.Second
		s.server.mu.Unlock()
		s.at(func(e edge) bool { return e.process == s.p[0] && e.op == "answered" }, fault{stops, 30 * time.Second})
		_ = s.begin(s.p[0])
		s.nap(500 * time.Millisecond)
		_ = s.request(s.p[2]) // waits, and claims over
		s.wantSent(1, 2)
		if d := s.newest(); d.refused() {
			t.Error("reauthorization is asked for")
		}
		s.nap(30 * time.Second)
		s.want(2, "ready")
	})
}
