package modelcheck

// process is what happens to a process as a whole.
func (x *stepper) process(p int) {
	s, r := x.from, x.from.replicas[p]
	if r.stage == exited {
		x.add(p, "is started again", revival).replicas[p].stage = idle
		return
	}
	if s.left.crashes > 0 {
		a := x.add(p, "dies", fault)
		a.left.crashes--
		x.crash(&a.state, p)
	}
	switch {
	case r.paused:
		x.add(p, "goes on", revival).replicas[p].paused = false
	case s.left.pauses > 0:
		a := x.add(p, "is stopped past every deadline", fault)
		a.left.pauses--
		r := &a.replicas[p]
		r.paused = true
		r.late = r.stage >= claiming && r.stage <= answered
		r.back.late = r.back.stage != exited
	}
}

// crash leaves of a process its journal file, and its requests on the way.
func (x *stepper) crash(s *state, p int) {
	for in := range slots {
		a := s.replicas[p].at(in)
		if x.never && a.stage >= claiming && a.stage <= answered {
			s.maybeSpent.add(a.token)
		}
		switch {
		case a.stage == sent:
			s.under.add(a.token)
		case a.stage == answered && a.answer == newTokens:
			s.lost.add(a.token.next())
		}
	}
	for i := range s.journal {
		n := &s.journal[i]
		if n.kind == noRecord || n.holder != uint8(p) {
			continue
		}
		if !n.orphaned {
			n.orphaned, n.machine = true, machineOf[p]
		}
		n.holder = nobody
	}
	s.replicas[p] = replica{}
}

// serve is the authorization server at the request of a replica, which need not
// be running to be served. It takes its time: no deadline of the sending counts
// here.
func (x *stepper) serve(p int, in slot) {
	s, r := x.from, x.from.replicas[p].at(in)
	if r.stage != sent {
		return
	}
	answer := func(what string, cl class, with answerKind) *successor {
		a := x.add(p, what, cl)
		to := a.replicas[p].at(in)
		to.stage, to.answer = answered, with
		return a
	}
	if x.accepts(s, r.token) {
		answer("is granted new tokens", progress, newTokens).used.add(r.token)
	} else {
		answer("is answered invalid_grant", progress, tokenRefused)
	}
	if x.keeps && !s.used.has(r.token) {
		answer("is granted an access token and keeps its refresh token", progress, sameToken)
	}
	if s.left.server > 0 {
		// The server did not look at the token: this was no sending.
		a := answer("is answered 503", fault, tokenUnused)
		a.left.server--
		a.sent[r.token] = max(a.sent[r.token], 1) - 1
	}
}

func (c *config) accepts(s *state, t token) bool {
	return !s.used.has(t) || (c.grace && !s.graceOver.has(t))
}

// world is what happens without a replica.
func (x *stepper) world() {
	s := x.from
	for i, v := range s.late {
		if !v.absent {
			a := x.add(nobody, "a late write lands", progress)
			a.late[i] = version{absent: true}
			a.broken = x.put(&a.state, v)
		}
	}
	for t := t0; t < tokens; t++ {
		if s.under.has(t) {
			a := x.add(nobody, "a slow request reaches the server", progress)
			a.under.remove(t)
			if x.accepts(s, t) {
				a.used.add(t)
				a.lost.add(t.next())
			}
		}
		if x.grace && s.used.has(t) && !s.graceOver.has(t) && !s.heard(t) {
			x.endGrace(t)
		}
	}
	if x.neighbour && !s.neighbour {
		x.add(nobody, "another tenant's token is seen to survive its use", progress).neighbour = true
	}
}

// endGrace lets the time pass that the server takes a token again. It is longer
// than a deadline to send, and within it only those claim over another claim who
// have a whole one left. So nobody may send any more under a claim of that time.
func (x *stepper) endGrace(t token) {
	a := x.add(nobody, "the grace of a used token ends", progress)
	a.graceOver.add(t)
	for _, r := range a.attempts() {
		if r.token == t && r.stage <= won && (!r.withinGrace || x.flaw != graceUnchecked) {
			r.late = true
		}
	}
}

// heard reports whether somebody who runs is about to record an answer to t, for
// which the grace is time enough.
func (s *state) heard(t token) bool {
	for p, a := range s.attempts() {
		if a.token == t && a.stage == answered && s.replicas[p].running() {
			return true
		}
	}
	return false
}
