package simulation

import (
	"context"
	"errors"
	"time"
)

// edge is a place where a process meets the world, before or after what it does
// there is done.
type edge struct {
	process *process
	op      string // get, put; open, adopt, claim, answer, settle, close; connect, answered
	after   bool
	account string // empty if it is not known
	locked  bool   // the coordinator holds a mutex: see [process.meet]
	status  string // of the document that is put
}

func (e edge) site() string {
	site := e.process.slotName() + " " + e.op + " " + e.account + " " + e.status
	if e.after {
		site += " after"
	}
	return site
}

// fault is what happens at an edge.
type fault struct {
	kind  kind
	delay time.Duration
}

type kind int

const (
	pass      kind = iota
	fail           // before: it is not done; after: its answer is lost
	slow           // it takes delay
	late           // a write is done after delay, and its writer does not hear of it
	lie            // a write is done, and its writer hears of a conflict
	breaks         // the journal has failed for good
	stops          // the process is stopped for delay
	kills          // the process is killed
	powerLost      // the machine loses power
)

var errLost = errors.New("lost on the way")

// errDead is what a dead process gets, to end its goroutines.
var errDead = errors.New("the process is dead")

// faultAt decides what happens at e.
func (w *world) faultAt(e edge) fault {
	if script, _ := w.plot(); script != nil {
		return script(e)
	}
	if w.isCalm() {
		return fault{}
	}
	r := w.dice.at(e.site())
	p := &w.profile
	happens := func(chance float64) bool { return r.Float64() < chance }
	switch {
	case happens(p.crash):
		if r.IntN(3) == 0 {
			return fault{kind: powerLost}
		}
		return fault{kind: kills}
	case happens(p.stop):
		return fault{stops, choose(r, between(r, 0, 3*time.Second), between(r, 5*time.Second, 15*time.Second), between(r, 15*time.Second, 80*time.Second))}
	}
	switch e.op {
	case "get", "put":
		return w.storeFault(e, happens, func(low, high time.Duration) time.Duration { return between(r, low, high) })
	case "connect":
		switch {
		case e.after:
		case happens(p.refused):
			return fault{kind: fail}
		case happens(p.connectSlow):
			return fault{slow, between(r, 0, 7*time.Second)}
		}
	case "answered", "send":
	default:
		return w.journalFault(e, happens, func(low, high time.Duration) time.Duration { return between(r, low, high) })
	}
	return fault{}
}

func (w *world) storeFault(e edge, happens func(float64) bool, between func(low, high time.Duration) time.Duration) fault {
	p := &w.profile
	switch {
	case happens(p.storeSlow):
		return fault{slow, between(0, 7*time.Second)}
	case e.after && happens(p.storeLosesAnswer):
		return fault{kind: fail}
	case e.after && e.op == "put" && happens(p.storeLies):
		return fault{kind: lie}
	case !e.after && happens(p.storeFails):
		return fault{kind: fail}
	case !e.after && e.op == "put" && happens(p.storeLate):
		return fault{late, between(0, 20*time.Second)}
	}
	return fault{}
}

func (w *world) journalFault(e edge, happens func(float64) bool, between func(low, high time.Duration) time.Duration) fault {
	p := &w.profile
	switch {
	case happens(p.journalSlow):
		return fault{slow, between(0, 4*time.Second)}
	case !e.after && e.op != "close" && happens(p.journalFails):
		return fault{kind: fail}
	case e.after && happens(p.journalLosesAnswer):
		if e.op == "claim" || e.op == "answer" {
			return fault{kind: breaks} // as when fsync fails: nothing else leaves it open
		}
		return fault{kind: fail}
	case (e.op == "claim" || e.op == "answer" || e.op == "settle") && happens(p.journalBreaks):
		return fault{kind: breaks}
	}
	return fault{}
}

// meet lets p pass an edge: it waits while p is stopped, and does to p what is
// decided. What is left to the caller is in the fault. The error is errDead, or
// that of ctx.
//
// Where the coordinator holds a mutex nothing waits: the time in a bubble stands
// still while somebody waits for a mutex.
func (p *process) meet(ctx context.Context, e edge) (fault, error) {
	e.process = p
	if p.isDead() {
		return fault{}, errDead
	}
	if !e.locked && p.runs() != nil {
		return fault{}, errDead
	}
	f := p.world.faultAt(e)
	if e.locked && (f.kind == slow || f.kind == late) {
		f = fault{}
	}
	if f.kind != pass {
		p.trace("%s %s %s after=%v: %s", e.op, e.account, e.status, e.after, f)
		p.world.ledger.troubles(p.name, 0)
		defer p.world.ledger.troubles(p.name, 0)
	}
	switch f.kind {
	case slow:
		p.sleep(ctx, f.delay)
	case stops:
		p.stop(f.delay)
	case kills:
		p.world.kill(p, false)
	case powerLost:
		p.world.kill(p, true)
	}
	if p.isDead() || !e.locked && p.runs() != nil {
		return f, errDead
	}
	return f, ctx.Err()
}

func (f fault) String() string {
	return [...]string{"pass", "fails", "slow", "late", "lie", "breaks", "stopped", "killed", "power lost"}[f.kind] + " " + f.delay.String()
}

// sleep waits unless ctx ends, p dies or the faults are over.
func (p *process) sleep(ctx context.Context, d time.Duration) {
	wait(d, p.world.calm, p.died, ctx.Done())
}

// wait waits for d, or until one of the channels is closed. A timer that is due
// at once must not get into a select: in a bubble, with the race detector, that
// crashes the runtime of Go 1.26.
func wait(d time.Duration, ends1, ends2, ends3 <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ends1:
	case <-ends2:
	case <-ends3:
	}
}

// runs waits while p is stopped, whatever else ends meanwhile.
func (p *process) runs() error {
	stopped := false
	for {
		select {
		case <-p.died:
			return errDead
		default:
		}
		left := p.stoppedFor()
		if left <= 0 || p.world.isCalm() {
			break
		}
		stopped = true
		p.sleep(context.Background(), left)
	}
	if stopped {
		p.world.ledger.troubles(p.name, 0)
	}
	return nil
}
