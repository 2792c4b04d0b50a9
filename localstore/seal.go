package localstore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// A sealed entry is
//
//	format     1 byte   entryFormat
//	state      1 byte   stateLive or stateDeleted
//	version    8 bytes  big endian
//	written at 8 bytes  big endian, nanoseconds since 1970
//	nonce     12 bytes  random
//	document            encrypted; empty for a deletion's mark
//	tag       16 bytes
//
// All before the nonce is the additional authenticated data. Entries of formatNoIndex are
// the same, of a release that had no index.
const (
	entryFormat   = 2
	formatNoIndex = 1

	stateLive    = 0
	stateDeleted = 1
	headerSize   = 1 + 1 + 8 + 8
)

var (
	errFormat = errors.New("an entry has a format that this release does not know")
	errSealed = errors.New("an entry is damaged, or was sealed for another place or with another key")
)

// entry is what a database holds for one key: a document, or a deletion's mark.
type entry struct {
	data      []byte
	version   uint64
	writtenAt time.Time
	deleted   bool
}

// sealer seals and opens the entries of one database.
//
// Each place in the database has an AES key of its own, derived by HKDF (RFC 5869)
// from the key file, a random salt of the database and the place. So an entry opens
// in its place alone, databases can share a key file, and the 2^32 messages
// that random nonces allow a GCM key (NIST SP 800-38D, 8.3) count for each
// document and not for all together, who would reach them within a year at a
// hundred refreshes a second.
type sealer struct{ secret, indexKey []byte }

func newSealer(key, salt []byte) (*sealer, error) {
	secret, err := hkdf.Extract(sha256.New, key, salt)
	if err != nil {
		return nil, err
	}
	indexKey, err := hkdf.Expand(sha256.New, secret, "upstream_auth local store index", keySize)
	if err != nil {
		return nil, err
	}
	return &sealer{secret, indexKey}, nil
}

// tag authenticates a text of the index, for one purpose. It is an HMAC, of which there is no
// number after which a key is used up.
func (s *sealer) tag(purpose byte, text []byte) []byte {
	mac := hmac.New(sha256.New, s.indexKey)
	_, _ = mac.Write([]byte{purpose})
	_, _ = mac.Write(text)
	return mac.Sum(nil)[:tagSize]
}

func (s *sealer) aead(place []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, s.secret, "upstream_auth local store\x00"+string(place), keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal returns the bytes to store at place.
func (s *sealer) seal(place []byte, e entry) ([]byte, error) {
	aead, err := s.aead(place)
	if err != nil {
		return nil, err
	}
	header := make([]byte, 0, headerSize+len(e.data)+aead.Overhead())
	state := byte(stateLive)
	if e.deleted {
		state = stateDeleted
	}
	header = append(header, entryFormat, state)
	header = binary.BigEndian.AppendUint64(header, e.version)
	header = binary.BigEndian.AppendUint64(header, uint64(e.writtenAt.UnixNano()))
	return aead.Seal(header, nil, e.data, header), nil
}

// maxSealed is more than any entry has. Damaged pages tell of entries of gigabytes, and memory
// for them would be taken before they are found to be none.
const maxSealed = 4 * credential.MaxSize

// open returns the entry that was sealed for place. The bytes may be anything.
func (s *sealer) open(place, sealed []byte) (entry, error) {
	switch {
	case len(sealed) == 0:
		return entry{}, errSealed
	case sealed[0] != entryFormat && sealed[0] != formatNoIndex:
		return entry{}, errFormat
	case len(sealed) < headerSize, len(sealed) > maxSealed:
		return entry{}, errSealed
	}
	aead, err := s.aead(place)
	if err != nil {
		return entry{}, err
	}
	header, message := sealed[:headerSize], sealed[headerSize:]
	data, err := aead.Open(nil, nil, message, header)
	if err != nil {
		return entry{}, errSealed
	}
	return entry{
		data:      data,
		version:   binary.BigEndian.Uint64(header[2:]),
		writtenAt: time.Unix(0, int64(binary.BigEndian.Uint64(header[10:]))).UTC(),
		deleted:   header[1] == stateDeleted,
	}, nil
}
