package journal

import (
	"encoding/binary"
	"errors"
)

// A record, before it is sealed, is its kind (1 byte) and its fields, each
// preceded by its length as a varint:
//
//	claim    provider, tenant, nonce, fingerprint, base version (8 bytes, big endian)
//	answer   nonce, spent token, response, time (time.Time.MarshalBinary)
//	settled  nonce
const (
	kindClaim   = 1
	kindAnswer  = 2
	kindSettled = 3
)

// maxRecord is longer than any record: an answer with both its parts full.
const maxRecord = 2*MaxResponse + 8*MaxText

// errRecord is about a record that opens and makes no sense: the work of another
// release, as nobody without the key can have made it.
var errRecord = errors.New("a record that this release does not understand")

func claimRecord(n ClaimRecord) []byte {
	version := binary.BigEndian.AppendUint64(nil, n.BaseVersion)
	return joinRecord(kindClaim, []byte(n.Provider), []byte(n.Tenant), []byte(n.Nonce), []byte(n.Fingerprint), version)
}

func answerRecord(nonce string, a Answer) ([]byte, error) {
	at, err := a.At.UTC().MarshalBinary()
	if err != nil {
		return nil, err
	}
	return joinRecord(kindAnswer, []byte(nonce), []byte(a.SpentToken), a.Response, at), nil
}

func settledRecord(nonce string) []byte { return joinRecord(kindSettled, []byte(nonce)) }

func joinRecord(kind byte, fields ...[]byte) []byte {
	record := []byte{kind}
	for _, field := range fields {
		record = binary.AppendUvarint(record, uint64(len(field)))
		record = append(record, field...)
	}
	return record
}

func splitRecord(record []byte) (kind byte, fields [][]byte, err error) {
	if len(record) == 0 {
		return 0, nil, errRecord
	}
	kind, record = record[0], record[1:]
	for len(record) > 0 {
		length, n := binary.Uvarint(record)
		if n <= 0 || length > uint64(len(record)-n) {
			return 0, nil, errRecord
		}
		end := n + int(length)
		fields, record = append(fields, record[n:end]), record[end:]
	}
	return kind, fields, nil
}

func parseVersion(field []byte) (uint64, error) {
	if len(field) != 8 {
		return 0, errRecord
	}
	return binary.BigEndian.Uint64(field), nil
}

// records returns the records that a file needs for n alone.
func (n pendingClaims) records() ([][]byte, error) {
	var records [][]byte
	for _, e := range n {
		records = append(records, claimRecord(e.ClaimRecord))
		if e.Answer == nil {
			continue
		}
		answer, err := answerRecord(e.Nonce, *e.Answer)
		if err != nil {
			return nil, err
		}
		records = append(records, answer)
	}
	return records, nil
}
