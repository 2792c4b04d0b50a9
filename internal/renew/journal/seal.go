package journal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// A file's header is
//
//	magic           24 bytes
//	id              16 bytes  random; also the file's name
//	salt            16 bytes  random; another whenever the file is written anew
//	key fingerprint 16 bytes  derived from the key alone
//	seal            28 bytes  of nothing, under the file's key: record number 0
//	CRC-32C          4 bytes  of all before
//
// The checksum tells a damaged fingerprint from another key's. The seal tells
// whether the rest is as it was written.
const (
	magic           = "upstream_auth journal 1\n"
	idSize          = 16
	saltSize        = 16
	fingerprintSize = 16
	sealOverhead    = 12 + 16 // nonce and tag
	namedSize       = len(magic) + idSize + saltSize + fingerprintSize
	headerSize      = namedSize + sealOverhead + 4

	frameSize = 4 + 4 // before each sealed record: its length and the length's CRC-32C

	// KeySize is the length of a directory's key in bytes.
	KeySize = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errSealed is about a record that does not open in its place.
var errSealed = errors.New("a record was changed, moved or taken away")

// sealer seals and opens the records of one file.
type sealer struct {
	aead  cipher.AEAD
	named []byte // the header's part before the seal
}

// newSealer makes a sealer for a new file, and its header.
func newSealer(key, id []byte) (*sealer, []byte, error) {
	fingerprint, err := fingerprintOf(key)
	if err != nil {
		return nil, nil, err
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // Never fails.
	s, err := sealerFor(key, slices.Concat([]byte(magic), id, salt, fingerprint))
	if err != nil {
		return nil, nil, err
	}
	header := slices.Concat(s.named, s.seal(0, nil))
	return s, binary.BigEndian.AppendUint32(header, crc32.Checksum(header, castagnoli)), nil
}

// openHeader returns the sealer of the file that header comes from and that is
// named after id.
func openHeader(key, id, header []byte) (*sealer, error) {
	sum := len(header) - 4
	switch {
	case !bytes.HasPrefix(header, []byte(magic)):
		return nil, fmt.Errorf("%w: no journal, or one of another release", ErrDamaged)
	case crc32.Checksum(header[:sum], castagnoli) != binary.BigEndian.Uint32(header[sum:]):
		return nil, fmt.Errorf("%w: its header was changed", ErrDamaged)
	}
	fingerprint, err := fingerprintOf(key)
	if err != nil {
		return nil, err
	}
	named := header[:namedSize]
	if !bytes.HasSuffix(named, fingerprint) {
		return nil, ErrForeign
	}
	s, err := sealerFor(key, named)
	if err != nil {
		return nil, err
	}
	if _, err := s.open(0, header[namedSize:sum]); err != nil {
		return nil, fmt.Errorf("%w: its header was changed", ErrDamaged)
	}
	if !bytes.HasPrefix(named[len(magic):], id) {
		return nil, fmt.Errorf("%w: it is a copy of another or was renamed", ErrDamaged)
	}
	return s, nil
}

// sealerFor derives the file's key from its salt. With keys of their own, files
// need not share the 2^32 messages that random nonces allow one key (NIST SP
// 800-38D, 8.3).
func sealerFor(key, named []byte) (*sealer, error) {
	salt := named[len(magic)+idSize:][:saltSize]
	fileKey, err := hkdf.Key(sha256.New, key, salt, "upstream_auth journal", KeySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(fileKey)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, named: slices.Clone(named)}, nil
}

func fingerprintOf(key []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, key, nil, "upstream_auth journal: fingerprint", fingerprintSize)
}

// seal returns record number seq as it is in the file, without its frame. Nonces
// are random and not the number, as a record that could not be appended leaves
// its number to the next.
func (s *sealer) seal(seq uint64, record []byte) []byte {
	return s.aead.Seal(nil, nil, record, s.place(seq))
}

func (s *sealer) open(seq uint64, sealed []byte) ([]byte, error) {
	record, err := s.aead.Open(nil, nil, sealed, s.place(seq))
	if err != nil {
		return nil, errSealed
	}
	return record, nil
}

// place is the additional data of record number seq.
func (s *sealer) place(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(slices.Clip(s.named), seq)
}

// frame puts before a sealed record what readers need to find its end. The
// checksum keeps a changed length from looking like a file that ends early.
func frame(sealed []byte) []byte {
	framed := make([]byte, 0, frameSize+len(sealed))
	framed = binary.BigEndian.AppendUint32(framed, uint32(len(sealed)))
	framed = binary.BigEndian.AppendUint32(framed, crc32.Checksum(framed, castagnoli))
	return append(framed, sealed...)
}

// frameLength returns the length of the sealed record that follows frame.
func frameLength(frame []byte) (length int, ok bool) {
	n := binary.BigEndian.Uint32(frame)
	ok = crc32.Checksum(frame[:4], castagnoli) == binary.BigEndian.Uint32(frame[4:]) && n <= maxRecord+sealOverhead
	return int(n), ok
}
