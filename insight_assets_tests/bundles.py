"""Archives of related files, as a shop's export delivers them."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from insight_assets.ingestion.readers import Delivery, read_delivery


def packed(files: Mapping[str, bytes | str]) -> bytes:
    """Give the bytes of a zip archive with those files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, content in files.items():
            writer.writestr(name, content)
    return archive.getvalue()


def delivered(folder: Path, files: Mapping[str, bytes | str]) -> Delivery:
    """Write an archive of those files into a folder and open it as landing does."""
    path = folder / "bundle.zip"
    path.write_bytes(packed(files))
    return read_delivery(path, max_bytes=1_000_000_000)


def olist_files(real_data: Path) -> dict[str, bytes]:
    """Read the files of Olist's development sample, as published: some packed, some plain."""
    folder = real_data / "olist_samples"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*/*.csv*"))}


# Six orders of four people, and rows whose order is not in the bundle. All values are invented.
LITTLE_OLIST = {
    "olist_customers_dataset.csv": """\
customer_id,customer_unique_id,customer_zip_code_prefix,customer_city,customer_state
c1,ana,01001,sao paulo,SP
c2,ana,01001,sao paulo,SP
c3,bruno,20000,rio de janeiro,RJ
c4,carla,30000,belo horizonte,MG
c5,davi,40000,salvador,BA
c6,bruno,20000,rio de janeiro,RJ
""",
    "olist_orders_dataset.csv": """\
order_id,customer_id,order_status,order_purchase_timestamp,order_approved_at,order_delivered_carrier_date,\
order_delivered_customer_date,order_estimated_delivery_date
two-goods,c1,delivered,2017-03-01 10:00:00,2017-03-01 10:20:00,2017-03-02 09:00:00,2017-03-06 18:30:00,2017-03-20
voucher,c2,delivered,2017-03-01 23:30:00,2017-03-02 00:10:00,2017-03-03 09:00:00,2017-03-07 12:00:00,2017-03-21 00:00:00
unpaid,c3,canceled,2017-03-02 08:00:00,,,,2017-03-22 00:00:00
given-back,c4,canceled,2017-03-02 09:00:00,2017-03-03 11:00:00,,,2017-03-22 00:00:00
no-goods,c5,unavailable,2017-03-02 10:00:00,2017-03-02 10:30:00,,,2017-03-23 00:00:00
on-its-way,c6,shipped,2017-03-02 11:00:00,2017-03-02 11:05:00,2017-03-03 15:00:00,,2017-03-24 00:00:00
unknown-customer,c9,delivered,2017-03-02 12:00:00,2017-03-02 12:05:00,,,2017-03-24 00:00:00
""",
    "olist_order_items_dataset.csv": """\
order_id,order_item_id,product_id,seller_id,shipping_limit_date,price,freight_value
two-goods,1,soap,s1,2017-03-05 00:00:00,10.00,2.50
two-goods,2,desk,s2,2017-03-05 00:00:00,20.50,3.00
voucher,1,soap,s1,2017-03-05 00:00:00,30.00,5.00
unpaid,1,lamp,s1,2017-03-05 00:00:00,40.00,4.00
given-back,1,soap,s1,2017-03-05 00:00:00,10.00,2.50
on-its-way,1,newcomer,s2,2017-03-05 00:00:00,100.00,5.00
nowhere,1,soap,s1,2017-03-05 00:00:00,77.00,7.00
""",
    "olist_order_payments_dataset.csv": """\
order_id,payment_sequential,payment_type,payment_installments,payment_value
two-goods,1,credit_card,1,36.00
voucher,1,voucher,1,15.00
voucher,2,credit_card,1,20.00
unpaid,1,boleto,1,44.00
given-back,1,boleto,1,12.50
no-goods,1,debit_card,1,99.00
on-its-way,1,credit_card,3,108.00
nowhere,1,not_defined,1,84.00
""",
    "olist_order_reviews_dataset.csv": '''\
review_id,order_id,review_score,review_comment_title,review_comment_message,review_creation_date,review_answer_timestamp
r1,two-goods,5,,"Chegou antes do prazo.

Recomendo, nota ""dez"" de novo",2017-03-07 00:00:00,2017-03-08 21:00:00
r2,voucher,4,Bom,Gostei,2017-03-08 00:00:00,2017-03-08 22:00:00
r2,on-its-way,4,Bom,Gostei,2017-03-08 00:00:00,2017-03-08 22:00:00
r3,no-goods,1,,,2017-03-09 00:00:00,2017-03-09 07:00:00
r4,nowhere,3,,,2017-03-09 00:00:00,2017-03-09 08:00:00
''',
    "olist_products_dataset.csv": """\
"product_id","product_category_name","product_name_lenght","product_description_lenght","product_photos_qty",\
"product_weight_g","product_length_cm","product_height_cm","product_width_cm"
"soap",beleza_saude,40,287,1,225,16,10,14
"desk",moveis_antigos,44,276,1,9000,90,80,70
"lamp",,,,,500,20,20,20
""",
    "olist_sellers_dataset.csv": """\
seller_id,seller_zip_code_prefix,seller_city,seller_state
s1,13023,campinas,SP
s2,80000,curitiba,PR
""",
    "product_category_name_translation.csv": """\
product_category_name,product_category_name_english
beleza_saude,health_beauty
""",
}
