package journal

import (
	"bytes"
	"slices"
	"time"
)

// notes is what is noted and not settled, in the order of the claims.
type notes []Entry

func (n notes) index(nonce string) int {
	return slices.IndexFunc(n, func(e Entry) bool { return e.Nonce == nonce })
}

func (n notes) mayClaim(nonce string) error {
	if n.index(nonce) >= 0 {
		return ErrNonce
	}
	return nil
}

func (n notes) mayAnswer(nonce string) error {
	if i := n.index(nonce); i < 0 || n[i].Answer != nil {
		return ErrNonce
	}
	return nil
}

func (n *notes) claim(note Note) error {
	if err := n.mayClaim(note.Nonce); err != nil {
		return err
	}
	*n = append(*n, Entry{Note: note})
	return nil
}

func (n notes) answer(nonce string, a Answer) error {
	if err := n.mayAnswer(nonce); err != nil {
		return err
	}
	n[n.index(nonce)].Answer = &Answer{SpentToken: a.SpentToken, Response: bytes.Clone(a.Response), At: a.At.UTC().Round(0)}
	return nil
}

func (n *notes) settle(nonce string) {
	*n = slices.DeleteFunc(*n, func(e Entry) bool { return e.Nonce == nonce })
}

// unanswered is the number of claims that an answer may yet come to.
func (n notes) unanswered() (count int64) {
	for _, e := range n {
		if e.Answer == nil {
			count++
		}
	}
	return count
}

func (n notes) answered() []Entry {
	return slices.DeleteFunc(slices.Clone(n), func(e Entry) bool { return e.Answer == nil })
}

// apply does what a record says.
func (n *notes) apply(record []byte) error {
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
		return n.claim(Note{
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
