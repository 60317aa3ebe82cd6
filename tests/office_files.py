"""A Word file and a PDF for tests."""

from pathlib import Path

import docx


def write_office_files(folder: Path) -> None:
    """A Word file with a table, and a PDF of one page, which is written by hand: pypdf writes no text."""
    document = docx.Document()
    document.add_heading("A heading")
    document.add_paragraph("A paragraph. It has two sentences.")
    document.add_table(1, 2).cell(0, 0).text = "never"
    document.save(str(folder / "a.docx"))
    stream = b"BT /F1 12 Tf 20 100 Td (A page with an exam-) Tj 0 -14 Td (ple. It ends here.) Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    tail = b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
    (folder / "b.pdf").write_bytes(content + tail % (table, len(content)))
