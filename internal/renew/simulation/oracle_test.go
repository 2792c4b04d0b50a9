package simulation

import (
	"slices"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// history is a ledger that is written by hand.
type history struct {
	*ledger
	clock time.Duration
}

// a document as the store may have it, over token r1, r2, ...
func ready(token string) document {
	return document{refresh: token, status: "ready", print: fingerprint(token)}
}

func spending(nonce string) document {
	return document{refresh: "r1", status: "spending", print: fingerprint("r1"), nonce: nonce}
}

func refused() document {
	return document{refresh: "r1", status: "reauthorization_required", print: fingerprint("r1")}
}

// newHistory has processes p and q on two machines, p2 on that of p, and a document
// with token r1.
func newHistory(r rules) *history {
	h := &history{}
	h.ledger = newLedger(func() time.Duration { return h.clock }, func(string, ...any) {})
	h.open("t", r)
	h.begins("p", "a")
	h.begins("p2", "a")
	h.begins("q", "b")
	h.grants("t", "", "r1", nil)
	h.operates("t", document{refresh: "r1"})
	h.wait(time.Hour)
	return h
}

func (h *history) wait(d time.Duration) { h.clock += d }

// claim is what a process does before it sends r1.
func (h *history) claim(by, nonce string) {
	h.notes(by, "t", nonce, fingerprint("r1"))
	h.files(nonce, "journal of "+by)
	h.put(by, spending(nonce))
}

func (h *history) put(by string, d document) { h.writes(by, "t", d, h.clock, -1) }

// spend claims and sends r1, and the server gives r2 for it, which is heard.
func (h *history) spend(by, nonce string) {
	h.claim(by, nonce)
	s := h.sends(by, "t", "r1")
	h.grants("t", "r1", "r2", s)
	h.hears(s, false, true)
}

func (h *history) end() {
	h.judgeLosses("t")
	if h.stuck("t") {
		h.violate("t", noneStuck, "")
	}
	if h.unfinished("t") {
		h.violate("t", journalsEmpty, "")
	}
}

func singleUse() rules {
	return rules{rotation: scheme.RotationSingleUse, takeover: time.Minute}
}

func with(change func(*rules)) rules {
	r := singleUse()
	change(&r)
	return r
}

func TestOracleSeesWhatIsBroken(t *testing.T) {
	never := with(func(r *rules) { r.takeover = -1 })
	for name, test := range map[string]struct {
		rules rules
		want  property // empty: nothing is
		plot  func(h *history)
	}{
		"a refresh": {singleUse(), "", func(h *history) {
			h.spend("p", "n")
			h.journals("n")
			h.put("p", ready("r2"))
			h.settles("n", "journal of p")
		}},
		"sent again while it is under way": {singleUse(), onceWhileKnown, func(h *history) {
			h.claim("p", "n")
			h.sends("p", "t", "r1")
			h.wait(2 * time.Minute)
			h.claim("q", "m")
			h.sends("q", "t", "r1")
		}},
		"sent again while somebody has the answer in memory": {singleUse(), onceWhileKnown, func(h *history) {
			h.spend("p", "n")
			h.wait(2 * time.Minute)
			h.claim("q", "m")
			h.sends("q", "t", "r1")
		}},
		"sent again while the answer is in a journal that somebody can adopt": {singleUse(), onceWhileKnown, func(h *history) {
			h.spend("p", "n")
			h.journals("n")
			h.dies("p")
			h.wait(2 * time.Minute)
			h.claim("q", "m")
			h.sends("q", "t", "r1")
		}},
		"sent again after its answer was lost": {singleUse(), "", func(h *history) {
			h.claim("p", "n")
			s := h.sends("p", "t", "r1")
			h.grants("t", "r1", "r2", s)
			h.silent(s)
			h.claim("p", "m")
			h.settles("n", "journal of p")
			h.silent(h.sends("p", "t", "r1"))
			h.put("p", refused())
			h.settles("m", "journal of p")
		}},
		"taken over from who was stopped": {singleUse(), "", func(h *history) {
			h.claim("p", "n")
			h.sends("p", "t", "r1")
			h.troubles("p", 3*time.Minute)
			h.wait(2 * time.Minute)
			h.claim("q", "m")
			s := h.sends("q", "t", "r1")
			h.grants("t", "r1", "r2", s)
			h.hears(s, false, true)
			h.put("q", ready("r2"))
			h.settles("m", "journal of q")
			h.settles("n", "journal of p")
		}},
		"taken over right after who was stopped died": {singleUse(), "", func(h *history) {
			h.spend("p", "n")
			h.journals("n")
			h.troubles("p", 3*time.Minute)
			h.wait(2 * time.Minute)
			h.dies("p")
			h.wait(time.Second)
			h.claim("q", "m")
			h.silent(h.sends("q", "t", "r1"))
			h.put("q", refused())
			h.settles("m", "journal of q")
			h.settles("n", "journal of p")
		}},
		"sent again right after who had the answer died": {singleUse(), onceWhileKnown, func(h *history) {
			h.spend("p", "n")
			h.journals("n")
			h.wait(2 * time.Minute)
			h.dies("p")
			h.wait(time.Second)
			h.claim("q", "m")
			h.sends("q", "t", "r1")
		}},
		"taken over from who adopted it and was stopped": {singleUse(), "", func(h *history) {
			h.spend("p", "n")
			h.journals("n")
			h.dies("p")
			h.adopts("p2", "t", "n", "journal of p")
			h.begins("p3", "a") // which cannot have the journal
			h.troubles("p2", 3*time.Minute)
			h.wait(2 * time.Minute)
			h.claim("q", "m")
			h.silent(h.sends("q", "t", "r1"))
			h.put("q", refused())
			h.settles("m", "journal of q")
			h.settles("n", "journal of p")
		}},
		"sent again while who adopted it is in no trouble": {singleUse(), onceWhileKnown, func(h *history) {
			h.spend("p", "n")
			h.journals("n")
			h.dies("p")
			h.adopts("p2", "t", "n", "journal of p")
			h.wait(2 * time.Minute)
			h.claim("q", "m")
			h.sends("q", "t", "r1")
		}},
		"sent again with takeover never": {never, neverTwice, func(h *history) {
			h.claim("p", "n")
			h.silent(h.sends("p", "t", "r1"))
			h.sends("p", "t", "r1")
		}},
		"sent again with takeover never after a 503": {never, "", func(h *history) {
			h.claim("p", "n")
			h.hears(h.sends("p", "t", "r1"), true, false)
			h.spend("p", "m")
			h.put("p", ready("r2"))
			h.settles("n", "journal of p")
			h.settles("m", "journal of p")
		}},
		"sent late": {singleUse(), sentInTime, func(h *history) {
			h.claim("p", "n")
			h.wait(11 * time.Second)
			h.sends("p", "t", "r1")
		}},
		"sent without a claim": {singleUse(), claimFirst, func(h *history) { h.sends("p", "t", "r1") }},
		"sent under a claim that is only noted": {singleUse(), claimFirst, func(h *history) {
			h.notes("p", "t", "n", fingerprint("r1"))
			h.sends("p", "t", "r1")
		}},
		"back to an older token": {singleUse(), noWayBack, func(h *history) {
			h.spend("p", "n")
			h.put("p", ready("r2"))
			h.put("q", ready("r1"))
		}},
		"over an operator's token": {singleUse(), noWayBack, func(h *history) {
			h.spend("p", "n")
			h.grants("t", "", "x1", nil)
			h.operates("t", document{refresh: "x1"})
			h.put("p", ready("r2"))
		}},
		"over an operator's return to an old token": {singleUse(), oneInOnce, func(h *history) {
			h.spend("p", "n")
			h.put("p", ready("r2"))
			h.operates("t", document{refresh: "r1"})
			h.put("p", ready("r2"))
		}},
		"a field changed": {singleUse(), fieldsKept, func(h *history) {
			d := ready("r1")
			d.note = "ours"
			h.put("p", d)
		}},
		"disabled and claimed": {singleUse(), noClaimDisabled, func(h *history) {
			h.operates("t", document{refresh: "r1", disabledKey: "true"})
			h.claim("p", "n")
		}},
		"disabled and enabled": {singleUse(), disabledStays, func(h *history) {
			h.operates("t", document{refresh: "r1", disabledKey: "true"})
			h.put("p", ready("r1"))
		}},
		"deleted and written, knowingly": {singleUse(), deletedStays, func(h *history) {
			h.deletes("t", true)
			h.wait(time.Second)
			h.writes("p", "t", ready("r1"), h.clock, h.clock)
		}},
		"deleted and written, long after": {singleUse(), deletedStays, func(h *history) {
			h.deletes("t", true)
			h.wait(time.Minute)
			h.put("p", ready("r1"))
		}},
		"deleted while it is written": {singleUse(), "", func(h *history) {
			h.deletes("t", true)
			h.writes("p", "t", ready("r1"), h.clock-time.Second, -1)
		}},
		"claimed over at once": {singleUse(), foreignClaim, func(h *history) {
			h.claim("p", "n")
			h.claim("q", "m")
		}},
		"claimed over at once though somebody put the document anew": {singleUse(), foreignClaim, func(h *history) {
			h.claim("p", "n")
			h.operates("t", document{refresh: "r1"})
			h.claim("q", "m")
		}},
		"claimed over by who adopted it": {singleUse(), "", func(h *history) {
			h.claim("p", "n")
			h.dies("p")
			h.adopts("p2", "t", "n", "journal of p")
			h.spend("p2", "m")
			h.put("p2", ready("r2"))
			h.settles("n", "journal of p")
			h.settles("m", "journal of p2")
		}},
		"released by somebody else": {singleUse(), foreignClaim, func(h *history) {
			h.claim("p", "n")
			h.put("q", ready("r1"))
		}},
		"refused over somebody else's claim": {singleUse(), foreignClaim, func(h *history) {
			h.spend("p", "n")
			h.put("q", refused())
		}},
		"claimed after it was refused": {singleUse(), refusedStays, func(h *history) {
			h.operates("t", refused())
			h.claim("p", "n")
		}},
		"refused though it is good": {singleUse(), goodReason, func(h *history) {
			h.claim("p", "n")
			h.put("p", refused())
		}},
		"refused though its successor is known": {singleUse(), goodReason, func(h *history) {
			h.spend("p", "n")
			h.put("p", refused())
		}},
		"on the way to the store before the journal was asked": {singleUse(), journalFirst, func(h *history) {
			h.spend("p", "n")
			h.offers("p", "t", ready("r2"))
		}},
		"lost by who had it": {singleUse(), noLoss, func(h *history) {
			h.spend("p", "n")
			h.settles("n", "journal of p")
		}},
		"lost from a journal": {singleUse(), noLoss, func(h *history) {
			h.spend("p", "n")
			h.journals("n")
			h.dies("p")
			h.settles("n", "journal of p")
		}},
		"lost with who had it": {singleUse(), noneStuck, func(h *history) { // but not noLoss
			h.spend("p", "n")
			h.dies("p")
			h.settles("n", "journal of p")
		}},
		"left in a journal": {singleUse(), journalsEmpty, func(h *history) {
			h.spend("p", "n")
			h.put("p", ready("r2"))
		}},
		"within the grace": {with(func(r *rules) { r.rotation, r.grace = scheme.RotationGrace, time.Minute }), "", func(h *history) {
			h.spend("p", "n")
			h.wait(20 * time.Second)
			d := spending("m")
			d.over = "n"
			h.notes("q", "t", "m", fingerprint("r1"))
			h.put("q", d)
			s := h.sends("q", "t", "r1")
			h.grants("t", "r1", "r3", s)
			h.hears(s, false, true)
			h.put("q", ready("r3"))
			h.settles("n", "journal of p")
		}},
		"after the grace": {with(func(r *rules) { r.rotation, r.grace = scheme.RotationGrace, time.Minute }), onceWhileKnown, func(h *history) {
			h.spend("p", "n")
			h.wait(2 * time.Minute)
			h.claim("q", "m")
			h.sends("q", "t", "r1")
		}},
		"without rotation": {with(func(r *rules) { r.rotation = scheme.RotationNone }), "", func(h *history) {
			h.hears(h.sends("p", "t", "r1"), false, false)
			h.hears(h.sends("q", "t", "r1"), false, false)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(test.rules)
			test.plot(h)
			h.end()
			found := slices.ContainsFunc(h.violations, func(v violation) bool { return v.property == test.want })
			switch {
			case test.want == "" && len(h.violations) > 0:
				t.Errorf("nothing is broken, but it says %v", h.violations)
			case test.want != "" && !found:
				t.Errorf("%q is broken, but it says %v", test.want, h.violations)
			}
		})
	}
}
