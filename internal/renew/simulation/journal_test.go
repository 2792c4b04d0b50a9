package simulation

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal/journaltest"
)

// hook is called at the edges of the process's journal.
func (p *process) hook(after bool) func(op journaltest.Op, nonce string) error {
	return func(op journaltest.Op, nonce string) error {
		switch {
		case after && op == journaltest.OpClaim:
			p.mu.Lock()
			id := p.claiming[nonce]
			p.mu.Unlock()
			p.world.ledger.files(nonce, id)
		case after && op == journaltest.OpAnswer:
			p.world.ledger.journals(nonce)
		}
		f, err := p.meet(context.Background(), edge{op: string(op), after: after, locked: p.locks(op, nonce)})
		switch {
		case err != nil:
			return err
		case f.kind == fail:
			return errLost
		case f.kind == breaks:
			return journal.ErrBroken
		}
		return nil
	}
}

// locks reports whether the coordinator holds a mutex while it does op: always
// but for the first claim and the first answer of a nonce. Later ones are copies
// into another journal.
func (p *process) locks(op journaltest.Op, nonce string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return op != journaltest.OpClaim && op != journaltest.OpAnswer || p.noted[nonce] > 1
}

// journalView tells the ledger what is in a process's journals.
type journalView struct {
	journal.Directory
	process *process
}

func (v journalView) Open() (journal.Journal, error) {
	j, err := v.Directory.Open()
	if err != nil {
		return nil, err
	}
	return ownView{j, v.process}, nil
}

func (v journalView) Adopt() ([]journal.Adopted, []*journal.FileError, error) {
	adopted, left, err := v.Directory.Adopt()
	for i, a := range adopted {
		for _, e := range a.Unsettled() {
			v.process.trace("%s: adopts %s, answered=%v", e.Tenant, short(e.Nonce), e.Answer != nil)
			v.process.world.ledger.adopts(v.process.name, e.Tenant, e.Nonce, a.ID())
		}
		adopted[i] = adoptedView{a, v.process}
	}
	return adopted, left, err
}

type ownView struct {
	journal.Journal
	process *process
}

func (v ownView) Claim(note journal.ClaimRecord) error {
	v.process.mu.Lock()
	v.process.noted[note.Nonce]++
	v.process.claiming[note.Nonce] = v.ID()
	v.process.mu.Unlock()
	v.process.world.ledger.notes(v.process.name, note.Tenant, note.Nonce, note.Fingerprint)
	err := v.Journal.Claim(note)
	v.process.trace("%s: notes claim %s: %v", note.Tenant, short(note.Nonce), err)
	return err
}

func (v ownView) Answer(nonce string, a journal.Answer) error {
	v.process.world.ledger.answers(nonce)
	err := v.Journal.Answer(nonce, a)
	v.process.trace("notes answer to %s: %v", short(nonce), err)
	return err
}

func (v ownView) Settle(nonce string) error {
	return v.process.settle(nonce, v.Journal)
}

type adoptedView struct {
	journal.Adopted
	process *process
}

func (v adoptedView) Settle(nonce string) error {
	return v.process.settle(nonce, v.Adopted)
}

// settle settles, and notes it if the process lives to do so.
func (p *process) settle(nonce string, in journal.Adopted) error {
	if !p.isDead() {
		p.trace("settles %s in %s", short(nonce), short(in.ID()))
		p.world.ledger.settles(nonce, in.ID())
	}
	err := in.Settle(nonce)
	if err != nil {
		p.world.ledger.keeps(nonce)
	}
	return err
}

// leftover returns what is unsettled in a directory that no process uses.
func leftover(d *journaltest.Directory) ([]journal.PendingClaim, error) {
	adopted, _, err := d.Start().Adopt()
	var entries []journal.PendingClaim
	for _, a := range adopted {
		entries = append(entries, a.Unsettled()...)
	}
	return entries, err
}

// tokenIn returns the answer's body as it came, for the trace.
func tokenIn(a *journal.Answer) string {
	var noted struct{ Body []byte }
	if a == nil || json.Unmarshal(a.Response, &noted) != nil {
		return "no answer"
	}
	return strings.TrimSpace(string(noted.Body))
}
