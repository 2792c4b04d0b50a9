package journal

import (
	"bytes"
	"slices"
	"time"
)

// pendingClaims is what is noted and not settled, in the order of the claims.
type pendingClaims []PendingClaim

func (n pendingClaims) index(nonce string) int {
	return slices.IndexFunc(n, func(e PendingClaim) bool { return e.Nonce == nonce })
}

func (n pendingClaims) mayClaim(nonce string) error {
	if n.index(nonce) >= 0 {
		return ErrNonce
	}
	return nil
}

func (n pendingClaims) mayAnswer(nonce string) error {
	if i := n.index(nonce); i < 0 || n[i].Answer != nil {
		return ErrNonce
	}
	return nil
}

func (n *pendingClaims) claim(note ClaimRecord) error {
	if err := n.mayClaim(note.Nonce); err != nil {
		return err
	}
	*n = append(*n, PendingClaim{ClaimRecord: note})
	return nil
}

func (n pendingClaims) answer(nonce string, a Answer) error {
	if err := n.mayAnswer(nonce); err != nil {
		return err
	}
	n[n.index(nonce)].Answer = &Answer{SpentToken: a.SpentToken, Response: bytes.Clone(a.Response), At: a.At.UTC().Round(0)}
	return nil
}

func (n *pendingClaims) settle(nonce string) {
	*n = slices.DeleteFunc(*n, func(e PendingClaim) bool { return e.Nonce == nonce })
}

// unanswered is the number of claims that an answer may yet come to.
func (n pendingClaims) unanswered() (count int64) {
	for _, e := range n {
		if e.Answer == nil {
			count++
		}
	}
	return count
}

func (n pendingClaims) answered() []PendingClaim {
	return slices.DeleteFunc(slices.Clone(n), func(e PendingClaim) bool { return e.Answer == nil })
}

// apply does what a record says.
func (n *pendingClaims) apply(record []byte) error {
	kind, fields, err := splitRecord(record)
	if err != nil {
		return err
	}
	switch {
	case kind == kindClaim && len(fields) == 5:
		version, err := parseVersion(fields[4])
		if err != nil {
			return err
		}
		return n.claim(ClaimRecord{
			Provider: string(fields[0]), Tenant: string(fields[1]), Nonce: string(fields[2]),
			Fingerprint: string(fields[3]), BaseVersion: version,
		})
	case kind == kindAnswer && len(fields) == 4:
		var at time.Time
		if err := at.UnmarshalBinary(fields[3]); err != nil {
			return errRecord
		}
		return n.answer(string(fields[0]), Answer{SpentToken: string(fields[1]), Response: fields[2], At: at})
	case kind == kindSettled && len(fields) == 1:
		n.settle(string(fields[0]))
		return nil
	}
	return errRecord
}
