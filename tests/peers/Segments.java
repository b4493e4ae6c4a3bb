import java.io.BufferedOutputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.FieldInfo;
import org.apache.lucene.index.IndexableField;
import org.apache.lucene.index.LeafReader;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.BytesRef;
import org.elasticsearch.common.logging.LogConfigurator;

/** Prints what the segments of some Lucene directories hold, which they compress: every term and every stored field, also
 * of documents that were deleted. */
public class Segments {
    private static final OutputStream OUT = new BufferedOutputStream(System.out);

    public static void main(String[] directories) throws Exception {
        // What opens stored fields says whether it may use a library of the system.
        LogConfigurator.configureESLogging();
        for (String directory : directories) {
            print("directory", new BytesRef(directory));
            try (var reader = DirectoryReader.open(FSDirectory.open(Path.of(directory)))) {
                for (LeafReaderContext leaf : reader.leaves()) {
                    print(leaf.reader());
                }
            }
        }
        OUT.flush();
    }

    private static void print(LeafReader segment) throws Exception {
        for (FieldInfo field : segment.getFieldInfos()) {
            Terms terms = segment.terms(field.name);
            if (terms != null) {
                TermsEnum each = terms.iterator();
                for (BytesRef term = each.next(); term != null; term = each.next()) {
                    print(field.name, term);
                }
            }
        }
        for (int document = 0; document < segment.maxDoc(); document++) {
            for (IndexableField field : segment.storedFields().document(document)) {
                BytesRef bytes = field.binaryValue();
                print(field.name(), bytes != null ? bytes : new BytesRef(field.stringValue()));
            }
        }
    }

    private static void print(String name, BytesRef value) throws Exception {
        OUT.write((name + " ").getBytes(StandardCharsets.UTF_8));
        OUT.write(value.bytes, value.offset, value.length);
        OUT.write('\n');
    }
}
