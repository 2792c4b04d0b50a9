package renew

import "time"

const (
	// sendWithin is how long after the beginning of its claim a token may be sent.
	sendWithin = 10 * time.Second

	// ownerSent is when the owner of a claim has sent its token or never will, by a
	// store's clock that tells no less than seconds.
	ownerSent = sendWithin + time.Second

	// survivedTakeover is how old a claim has to be on a token that was seen to survive its
	// use: little is lost if it survives this one, too.
	survivedTakeover = 30 * time.Second

	// listenWithoutTakeover is how long an answer is listened for that nobody takes over
	// from.
	listenWithoutTakeover = 10 * time.Minute

	// ownersChance is how long a claim has to be seen before it is taken over, and how long
	// it is left alone at most after it could not be seen: its owner may have been kept from
	// the document by the same outage or deletion, and tries again within so long. After a
	// gap that is shorter, but longer than shortGap, it is three times as long as the gap,
	// since its owner's pauses grow with it.
	ownersChance = 14 * time.Second
	shortGap     = 1500 * time.Millisecond
)

// takeoverAfter is how old a claim has to be before another process takes it over:
// longer than its owner listens. It is negative if none ever does.
func (p *Provider) takeoverAfter(claim record) time.Duration {
	after := p.Takeover
	if after > 0 && claim.Survived == yes {
		after = min(after, survivedTakeover)
	}
	if listens, err := time.ParseDuration(claim.Listens); err == nil && after > 0 {
		after = max(after, listens+margin(after)) // its owner may go by another configuration
	}
	return after
}

// listenFor is how long after the beginning of its claim a process listens for the
// answer: until shortly before others may take over.
func listenFor(takeover time.Duration) time.Duration {
	if takeover < 0 {
		return listenWithoutTakeover
	}
	return takeover - margin(takeover)
}

// margin is what an owner needs to bring an answer in that came last, and by what the
// clocks of the store, which tells seconds, and of this machine may differ: a read and a
// write of a store that takes as long as it may. A takeover that is shorter than
// survivedTakeover is for stores that are faster.
func margin(takeover time.Duration) time.Duration {
	if takeover < survivedTakeover {
		return takeover / 5
	}
	return max(storeTimeout+writeTimeout+time.Second, min(takeover/5, 15*time.Second))
}
