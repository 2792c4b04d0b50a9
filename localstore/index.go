package localstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"go.etcd.io/bbolt"
)

// The index binds all entries together, so that none can be put back to what it was. It
// is a tree of hashes, by the digests of places: at the bottom it has the tags of the
// entries at a place, and in each node above the tag of what is below. The root, which also
// counts the writes, is in the bucket meta. Who does not have the key can make no tag of a
// node, and an older one does not fit to what is above it now.
//
// A node's key is its level and as many hexadecimal digits of the digest as the level has.
var (
	bucketIndex = []byte("index")
	metaRoot    = []byte("root") // the number of writes, and a tag

	indexDigits = [...]int{0, 1, 2, 3, 4, 2 * tagSize}
)

const indexBottom = len(indexDigits) - 1

// tagSize is the size of a tag, in bytes: those of AES-GCM and those of nodes.
const tagSize = 16

// maxNode is the size of the longest node, with its key.
const maxNode = 1 + 2*tagSize + 2*tagSize

// What tags are for.
const (
	tagOfPlace = iota
	tagOfNode
	tagOfRoot
)

var (
	errPutBack = errors.New("an entry is not the last one that was written: the file was changed from outside, or a part of it put back")
	errNoIndex = errors.New("its index was removed")
)

// index is the index as one transaction sees it.
type index struct {
	sealer                           *sealer
	nodes, meta, credentials, before *bbolt.Bucket
}

func (db *database) index(tx *bbolt.Tx) (index, error) {
	x := index{db.sealer, tx.Bucket(bucketIndex), tx.Bucket(bucketMeta), tx.Bucket(bucketCredentials), tx.Bucket(bucketPrevious)}
	if x.nodes == nil || x.meta == nil || x.credentials == nil || x.before == nil {
		return x, errDamaged
	}
	return x, nil
}

func (x index) digest(place []byte) string {
	return hex.EncodeToString(x.sealer.tag(tagOfPlace, place))
}

// node is the key of a node that a digest lies below, or at.
func node(level int, digest string) []byte {
	return append([]byte{byte(level)}, digest[:indexDigits[level]]...)
}

// below is the tag of all that is below a node; nil if nothing is.
func (x index) below(level int, digest string) []byte {
	children := append([]byte{byte(level + 1)}, digest[:indexDigits[level]]...)
	var text []byte
	cursor := x.nodes.Cursor()
	for key, tag := cursor.Seek(children); bytes.HasPrefix(key, children); key, tag = cursor.Next() {
		if len(key)+len(tag) > maxNode {
			return nil // of a damaged page: it fits to nothing above it
		}
		// With their sizes, so that no node can be made to look like two.
		text = binary.BigEndian.AppendUint32(text, uint32(len(key)))
		text = binary.BigEndian.AppendUint32(text, uint32(len(tag)))
		text = append(append(text, key...), tag...)
	}
	if text == nil {
		return nil
	}
	return x.sealer.tag(tagOfNode, text)
}

// entries are the tags of what lies at a place; nil if nothing does.
func (x index) entries(place []byte) []byte {
	current, before := x.credentials.Get(place), x.before.Get(place)
	if current == nil && before == nil {
		return nil
	}
	tags := make([]byte, 2*tagSize)
	copy(tags, current[max(0, len(current)-tagSize):])
	copy(tags[tagSize:], before[max(0, len(before)-tagSize):])
	return tags
}

// check reports whether what lies at a place is what was written there last. At least
// so many writes are known of.
func (x index) check(place []byte, known uint64) error {
	digest, tag := x.digest(place), x.entries(place)
	for level := indexBottom; level > 0; level-- {
		if !bytes.Equal(x.nodes.Get(node(level, digest)), tag) {
			return errPutBack
		}
		tag = x.below(level-1, digest)
	}
	if root := x.meta.Get(metaRoot); writesOf(root) < known || !bytes.Equal(root, x.root(writesOf(root), tag)) {
		return errPutBack
	}
	return nil
}

// set takes note of what lies at a place, and returns the number of writes.
func (x index) set(place []byte) (uint64, error) {
	digest, tag := x.digest(place), x.entries(place)
	for level := indexBottom; level > 0; level-- {
		if err := x.nodes.Put(node(level, digest), tag); err != nil {
			return 0, err
		}
		tag = x.below(level-1, digest)
	}
	writes := writesOf(x.meta.Get(metaRoot)) + 1
	return writes, x.meta.Put(metaRoot, x.root(writes, tag))
}

// root is the root above the topmost nodes, which have this tag.
func (x index) root(writes uint64, tag []byte) []byte {
	count := binary.BigEndian.AppendUint64(nil, writes)
	return append(count, x.sealer.tag(tagOfRoot, append(count, tag...))...)
}

// writesOf is the number of writes that a root tells.
func writesOf(root []byte) uint64 {
	if len(root) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(root)
}

// makeIndex makes the index of a new database, or of one of a release that had none. What
// is written beside an index says so in its format: to remove the index is no way to have
// it made anew of older entries, unless all of them are older.
func (db *database) makeIndex(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucket(bucketIndex); err != nil {
		return err
	}
	x, err := db.index(tx)
	if err != nil {
		return err
	}
	nodes := make(map[string]bool) // of the level above the one that was made last
	for _, bucket := range []*bbolt.Bucket{x.credentials, x.before} {
		err := bucket.ForEach(func(place, sealed []byte) error {
			if len(sealed) > 0 && sealed[0] == entryFormat {
				return errNoIndex
			}
			digest := x.digest(place)
			nodes[digest[:indexDigits[indexBottom-1]]] = true
			return x.nodes.Put(node(indexBottom, digest), x.entries(place))
		})
		if err != nil {
			return err
		}
	}
	for level := indexBottom - 1; level > 0; level-- {
		above := make(map[string]bool)
		for digest := range nodes {
			above[digest[:indexDigits[level-1]]] = true
			if err := x.nodes.Put(node(level, digest), x.below(level, digest)); err != nil {
				return err
			}
		}
		nodes = above
	}
	check, err := db.sealer.seal(metaCheck, entry{writtenAt: time.Now()})
	if err != nil {
		return err
	}
	return errors.Join(x.meta.Put(metaCheck, check), x.meta.Put(metaRoot, x.root(1, x.below(0, ""))))
}
